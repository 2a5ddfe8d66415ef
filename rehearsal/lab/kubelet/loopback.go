package kubelet

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// kubeletPort is where a real kubelet answers.
const kubeletPort = 10250

// loopback is a /16 of 127.0.0.0/8: host .0.1 is the kubelet, .0.2 and up are services, .1.0 and up are pods. Every
// pod has an address of its own, so that two may serve the same port.
type loopback struct {
	second int

	mu      sync.Mutex
	pods    int
	service int
}

// claimLoopback finds a /16 that no other lab on this machine uses, by listening on the kubelet's place in it.
func claimLoopback() (*loopback, net.Listener, error) {
	var last error
	for _, second := range rand.Perm(238) {
		n := &loopback{second: second + 16, pods: 256, service: 2}
		listener, err := net.Listen("tcp", fmt.Sprintf("%s:%d", n.kubelet(), kubeletPort))
		if err == nil {
			return n, listener, nil
		}
		last = err
	}
	return nil, nil, fmt.Errorf("loopback networks are all taken: %w", last)
}

func (n *loopback) kubelet() string { return fmt.Sprintf("127.%d.0.1", n.second) }

// nextPod gives the address that a pod's processes use and the one that its status shows. The API server refuses
// endpoints in 127.0.0.0/8, so the status must show another.
func (n *loopback) nextPod() (real, shown string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	i := n.pods
	if n.pods++; n.pods > 0xfffe {
		n.pods = 256
	}
	return fmt.Sprintf("127.%d.%d.%d", n.second, i>>8, i&255), fmt.Sprintf("10.244.%d.%d", i>>8, i&255)
}

func (n *loopback) nextService() (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.service > 254 {
		return "", fmt.Errorf("no loopback address left for services")
	}
	n.service++
	return fmt.Sprintf("127.%d.0.%d", n.second, n.service-1), nil
}
