package stream

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

func TestPackingIsJudgedByWhatItSaves(t *testing.T) {
	ms := time.Millisecond
	for name, x := range map[string]struct {
		g      gauge
		sample float64
		want   bool
	}{
		"a slow connection and text":               {gauge{busy: 400 * ms, pack: 20 * ms}, 0.2, true},
		"a slow connection and what is packed":     {gauge{busy: 400 * ms, pack: 5 * ms}, 0.99, false},
		"a connection that takes all at once":      {gauge{busy: 1 * ms, pack: 20 * ms}, 0.2, false},
		"it saves less than it takes":              {gauge{busy: 30 * ms, pack: 20 * ms}, 0.5, false},
		"on, and worth it":                         {gauge{on: true, busy: 100 * ms, pack: 20 * ms}, 0.2, true},
		"on, but the connection became fast":       {gauge{on: true, busy: 2 * ms, pack: 20 * ms}, 0.2, false},
		"on, but what comes is no longer packable": {gauge{on: true, busy: 400 * ms, pack: 20 * ms}, 0.98, false},
		"nothing measured":                         {gauge{}, 0, false},
	} {
		if got := x.g.judge(x.sample); got != x.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// slow is a connection with a rate, in bytes a second of virtual time; 0 takes all at once.
type slow struct {
	rate int
	kept bytes.Buffer
}

func (s *slow) Write(p []byte) (int, error) {
	if s.rate > 0 {
		time.Sleep(time.Duration(len(p)) * time.Second / time.Duration(s.rate))
	}
	return s.kept.Write(p)
}

// TestPackingIsOnOnlyWhereItHelps runs in virtual time, in which computing takes none: what is left is whether it makes things smaller and
// whether the connection is what is waited for.
func TestPackingIsOnOnlyWhereItHelps(t *testing.T) {
	text := bytes.Repeat([]byte("[INFO] Downloading from central: 0123456789abcdef\n"), 1<<20/50)
	noise := make([]byte, 1<<20)
	rng := rand.NewChaCha8([32]byte{})
	_, _ = rng.Read(noise)
	for name, x := range map[string]struct {
		rate   int
		data   []byte
		packed bool
	}{
		"slow, text":  {10 << 20, text, true},
		"slow, noise": {10 << 20, noise, false},
		"fast, text":  {0, text, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := &slow{rate: x.rate}
			o := newOutlet(w, true)
			go o.run()
			for range 40 {
				for at := 0; at < len(x.data); at += 1 << 18 {
					if err := o.send(kindData, func(e *encoder) { e.b = append(e.b, x.data[at:min(at+1<<18, len(x.data))]...) }); err != nil {
						t.Fatal(err)
					}
				}
			}
			o.finish()
			in := inlet{r: &w.kept}
			var got int64
			for {
				err := in.next(func(_ byte, b []byte) error { got += int64(len(b)); return nil })
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if want := int64(40 * len(x.data)); got != want {
				t.Errorf("%s: %d bytes of %d came", name, got, want)
			}
			if on := in.wire < in.unpacked*3/4; on != x.packed {
				t.Errorf("%s: %d blocks packed, %d bytes on the wire for %d", name, in.packed, in.wire, in.unpacked)
			}
		})
	}
}
