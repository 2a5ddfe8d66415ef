package syncargocd

import (
	"context"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"

	"pipectl.dev/kube"
)

// relist is how often all Applications are read anew, whatever a watch says: a watch may be lost without a word.
const relist = 30 * time.Second

// feed keeps the newest known version of each Application of a namespace from one list and one watch, and wakes who waits for one.
type feed struct {
	api dynamic.ResourceInterface

	mu      sync.Mutex
	objs    map[string]*unstructured.Unstructured // nil: known not to exist
	version map[string]uint64                     // of the newest version seen, of a deleted one too
	wake    map[string]chan struct{}
	listed  chan struct{} // closed after the first list
	once    sync.Once
}

func newFeed(c *kube.Client, namespace string) (*feed, error) {
	api, _, err := c.Resource(kube.ApplicationRef(namespace, ""))
	if err != nil {
		return nil, err
	}
	return &feed{api: api, objs: map[string]*unstructured.Unstructured{}, version: map[string]uint64{}, wake: map[string]chan struct{}{}, listed: make(chan struct{})}, nil
}

// run follows until ctx ends. Errors are passed over: the next list will do, and those who wait have deadlines.
func (f *feed) run(ctx context.Context) {
	for ctx.Err() == nil {
		list, err := f.api.List(ctx, metav1.ListOptions{})
		if err == nil {
			f.replace(list)
			f.once.Do(func() { close(f.listed) })
			f.follow(ctx, list.GetResourceVersion())
		}
		if err != nil {
			pause := time.NewTimer(time.Second)
			select {
			case <-ctx.Done():
			case <-pause.C:
			}
			pause.Stop()
		}
	}
}

// follow takes in a watch until it ends or it is time to list again.
func (f *feed) follow(ctx context.Context, from string) {
	w, err := f.api.Watch(ctx, metav1.ListOptions{ResourceVersion: from})
	if err != nil {
		return
	}
	defer w.Stop()
	again := time.NewTimer(relist)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
			return
		case e, open := <-w.ResultChan():
			if !open || e.Type == watch.Error {
				return
			}
			if obj, ok := e.Object.(*unstructured.Unstructured); ok && e.Type != watch.Bookmark {
				f.put(obj, e.Type == watch.Deleted)
			}
		}
	}
}

func (f *feed) replace(list *unstructured.UnstructuredList) {
	there := map[string]bool{}
	for i := range list.Items {
		there[list.Items[i].GetName()] = true
		f.put(&list.Items[i], false)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, obj := range f.objs {
		if obj != nil && !there[name] && f.version[name] <= number(list.GetResourceVersion()) {
			f.objs[name] = nil
			f.signal(name)
		}
	}
}

// put takes in a version of an Application, of the watch or the answer to a write of ours; an older one than known is passed over, so
// that nobody decides on a state from before their own write.
func (f *feed) put(obj *unstructured.Unstructured, deleted bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name, v := obj.GetName(), number(obj.GetResourceVersion())
	if v < f.version[name] {
		return
	}
	f.version[name] = v
	if deleted {
		obj = nil
	}
	f.objs[name] = obj
	f.signal(name)
}

// number is a resourceVersion to compare. The API server's are numbers that grow; of others each counts as the newest.
func number(version string) uint64 {
	n, err := strconv.ParseUint(version, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func (f *feed) signal(name string) {
	select {
	case f.changed(name) <- struct{}{}:
	default:
	}
}

// changed is the channel that tells of changes of one Application; f.mu is held.
func (f *feed) changed(name string) chan struct{} {
	ch := f.wake[name]
	if ch == nil {
		ch = make(chan struct{}, 1)
		f.wake[name] = ch
	}
	return ch
}

// get is the newest version, nil if it does not exist, and a channel that tells when there is a newer one.
func (f *feed) get(name string) (*unstructured.Unstructured, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.objs[name], f.changed(name)
}
