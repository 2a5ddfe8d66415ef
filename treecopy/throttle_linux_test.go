package treecopy

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAThrottledCopyTakesItsTime(t *testing.T) {
	files := map[string]string{}
	for i := range 20 {
		files[fmt.Sprintf("d/%02d", i)] = strings.Repeat("z", 100_000)
	}
	for name, tc := range map[string]struct {
		o    Options
		want time.Duration
	}{
		"by bytes":   {Options{BytesPerSecond: 1_000_000}, 2 * time.Second},
		"by entries": {Options{OpsPerSecond: 11}, 2 * time.Second}, // 20 files, 2 directories
	} {
		t.Run(name, func(t *testing.T) {
			src, dst := tree(t, files)
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				copyOK(t, src, dst, tc.o)
				if d := time.Since(began); d < tc.want-300*time.Millisecond || d > tc.want+time.Second {
					t.Errorf("took %v, want %v", d, tc.want)
				}
			})
		})
	}
}

// A target that shows whole seconds may be a file system that knows no more, so its content is compared. Where it does know more, the
// rest of a second that the source gained must arrive as well.
func TestTheRestOfASecondArrives(t *testing.T) {
	for name, second := range map[string]int64{"before 1970": -1, "since": 1_700_000_000} {
		t.Run(name, func(t *testing.T) {
			src, dst := tree(t, map[string]string{"f": "the same"})
			o := Options{Manifest: filepath.Join(dst, ManifestName)}
			for _, rest := range []int64{0, 126} {
				must(t, os.Chtimes(filepath.Join(src, "f"), time.Now(), time.Unix(second, rest)))
				copyOK(t, src, dst, o)
				fi, err := os.Stat(filepath.Join(dst, "f"))
				must(t, err)
				if want := time.Unix(second, rest); !fi.ModTime().Equal(want) {
					t.Errorf("the target was modified at %v, want %v", fi.ModTime(), want)
				}
			}
			if rep := copyOK(t, src, dst, o); rep.Copied.Files != 0 || rep.Updated != 0 {
				t.Errorf("another pass copies %+v and updates %d", rep.Copied, rep.Updated)
			}
		})
	}
}
