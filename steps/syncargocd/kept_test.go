package syncargocd

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"pipectl.dev/argoserver"
)

// dialogue is a server that answers each command that it is told of.
func dialogue(t *testing.T, answers map[string]string) *redis {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = ours.Close(); _ = theirs.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := theirs.Read(buf)
			if err != nil {
				return
			}
			answer, known := answers[string(buf[:n])]
			if !known {
				answer = "-ERR " + strings.ReplaceAll(string(buf[:n]), "\r\n", " ") + "\r\n"
			}
			if _, err := io.WriteString(theirs, answer); err != nil || answer == "" {
				_ = theirs.Close()
			}
		}
	}()
	return newRedis(ours)
}

func TestRedisIsReadOnly(t *testing.T) {
	r := dialogue(t, map[string]string{
		"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n": "+OK\r\n",
		"*2\r\n$6\r\nSELECT\r\n$1\r\n2\r\n":    "+OK\r\n",
		"*2\r\n$3\r\nGET\r\n$1\r\na\r\n":       "$4\r\n\r\nx\x00\r\n",
		"*2\r\n$3\r\nGET\r\n$1\r\nb\r\n":       "$-1\r\n",
		"*2\r\n$3\r\nGET\r\n$1\r\nc\r\n":       "$0\r\n\r\n",
	})
	if err := r.login(t.Context(), account{password: "secret"}, 2); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string][]byte{"a": []byte("\r\nx\x00"), "b": nil, "c": {}} {
		got, err := r.get(t.Context(), key)
		if err != nil || !bytes.Equal(got, want) || (got == nil) != (want == nil) {
			t.Errorf("%s: %q %v, want %q", key, got, err, want)
		}
	}
}

func TestWhoArgoCDIsToRedis(t *testing.T) {
	for name, test := range map[string]struct {
		secret map[string][]byte
		says   string
	}{
		"a password":                           {map[string][]byte{"auth": []byte("secret")}, "*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n"},
		"a user and a password":                {map[string][]byte{"auth": []byte("secret"), "redis-username": []byte("argo")}, "*3\r\n$4\r\nAUTH\r\n$4\r\nargo\r\n$6\r\nsecret\r\n"},
		"of a Redis that is not Argo CD's own": {map[string][]byte{"redis-password": []byte("other")}, "*2\r\n$4\r\nAUTH\r\n$5\r\nother\r\n"},
		"a user of no password":                {map[string][]byte{"redis-username": []byte("argo")}, ""},
		"nothing":                              {nil, ""},
	} {
		answers := map[string]string{"*2\r\n$6\r\nSELECT\r\n$1\r\n1\r\n": "+OK\r\n"}
		if test.says != "" {
			answers[test.says] = "+OK\r\n"
		}
		if err := dialogue(t, answers).login(t.Context(), accountOf(test.secret), 1); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsNoAnswerOfRedisIsAnError(t *testing.T) {
	for says, want := range map[string]string{
		"-NOAUTH Authentication required.\r\n": "GET: NOAUTH Authentication required.",
		"":                                     "GET: the connection was closed without an answer",
		"HTTP/1.1 400 Bad Request\r\n":         "GET: not an answer of Redis",
		"\r\n":                                 "GET: not an answer of Redis",
		"$x\r\n":                               "GET: not an answer of Redis",
		"$-7\r\n":                              "GET: not an answer of Redis",
		"$99999999999\r\n":                     "GET: 99999999999 bytes are more than is read (67108864)",
		strings.Repeat("+", 5000) + "\r\n":     "GET: bufio: buffer full",
	} {
		r := dialogue(t, map[string]string{"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n": says})
		if _, err := r.get(t.Context(), "k"); err == nil || err.Error() != want {
			t.Errorf("%.40q: %v, want %s", says, err, want)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := dialogue(t, nil).get(ended, "k"); !errors.Is(err, context.Canceled) {
		t.Errorf("of no interest any more: %v", err)
	}
	r := dialogue(t, map[string]string{"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n": "-WRONGPASS invalid username-password pair\r\n"})
	if err := r.login(t.Context(), account{password: "secret"}, 0); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a wrong password: %v", err)
	}
}

func TestWhereArgoCDKeepsItsComparisons(t *testing.T) {
	for name, test := range map[string]struct {
		params map[string]string
		want   place
		says   string
	}{
		"nothing said":              {nil, place{"argocd-redis", 6379, 0, true}, ""},
		"highly available":          {map[string]string{"redis.server": "argocd-redis-ha-haproxy:6379"}, place{"argocd-redis-ha-haproxy", 6379, 0, true}, ""},
		"all":                       {map[string]string{"redis.server": "r.argo.svc.cluster.local:1", "redis.db": "3", "redis.compression": "none"}, place{"r", 1, 3, false}, ""},
		"no port":                   {map[string]string{"redis.server": "r"}, place{"r", 6379, 0, true}, ""},
		"elsewhere":                 {map[string]string{"redis.server": "r.example.com:6379"}, place{}, "the Redis of Argo CD is r.example.com:6379, outside of namespace argo"},
		"a Service of other people": {map[string]string{"redis.server": "r.data.svc:6379"}, place{}, "outside of namespace argo"},
		"a port of letters":         {map[string]string{"redis.server": "r:redis"}, place{}, "names no port"},
		"a database of letters":     {map[string]string{"redis.db": "x"}, place{}, `"x" is no number`},
	} {
		got, err := keptAt(test.params, "argo")
		if got != test.want || (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
}

func TestThePortBehindAService(t *testing.T) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "r", ContainerPort: 7}}}}}}
	for target, want := range map[intstr.IntOrString]int{intstr.FromInt32(5): 5, intstr.FromString("r"): 7, intstr.FromString("other"): 6379, {}: 6379} {
		s := &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(1)}, {Port: 6379, TargetPort: target}}}}
		if got := targetPort(s, pod, 6379); got != want {
			t.Errorf("%s: %d, want %d", target.String(), got, want)
		}
	}
}

func TestWhatTheControllerKeepsIsRead(t *testing.T) {
	const text = `[{"kind":"ConfigMap","namespace":"n","name":"c","hook":true},{"group":"apps","kind":"Deployment","namespace":"n","name":"d",
		"normalizedLiveState":"{}","predictedLiveState":"null"}]`
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := io.WriteString(z, text); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	want := []argoserver.Managed{{Group: "apps", Kind: "Deployment", Namespace: "n", Name: "d", Live: "{}", Predicted: "null"}}
	for zip, raw := range map[bool][]byte{true: zipped.Bytes(), false: []byte(text)} {
		got, err := readManaged(raw, zip)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("gzip %v: %v (-want +got):\n%s", zip, err, diff)
		}
		if _, err := readManaged(raw, !zip); err == nil {
			t.Errorf("read as gzip %v", !zip)
		}
	}
	if _, err := readManaged(nil, true); err == nil || !strings.Contains(err.Error(), "has nothing of this Application") {
		t.Errorf("no key: %v", err)
	}
	for namespace, want := range map[string]string{"": "app|managed-resources|shop|1.8.3", "argo": "app|managed-resources|shop|1.8.3", "team": "app|managed-resources|team_shop|1.8.3"} {
		a := app()
		a.Namespace = namespace
		if got := keptKey(a, "argo", false); got != want {
			t.Errorf("key in %q: %s, want %s", namespace, got, want)
		}
	}
}
