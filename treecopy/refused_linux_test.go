package treecopy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What the kernel refuses to a child of the test: see refuseFromNowOn.
const (
	refuseQuota  = "quota"  // to write quotaFile bytes at once
	refuseOwners = "owners" // to give files away, as an NFS server with root_squash does
	refuseReads  = "reads"  // to read what is not one's own, likewise
)

// quotaFile is the size of the file that no quota has room for.
const quotaFile = 77_777

// refuseFromNowOn has the kernel refuse something to all threads of this process.
func refuseFromNowOn(what string) error {
	switch what {
	case "":
		return nil
	case refuseQuota:
		return failWrites(quotaFile, unix.EDQUOT)
	case refuseOwners:
		return dropCapabilities(unix.CAP_CHOWN)
	case refuseReads:
		return dropCapabilities(unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH)
	}
	return fmt.Errorf("refuse %q: unknown", what)
}

// failWrites installs a filter of system calls by which pwrite of so many bytes fails.
func failWrites(size uint32, with unix.Errno) error {
	ret := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	load := func(off uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: off}
	}
	unless := func(k uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: skip}
	}
	filter := []unix.SockFilter{
		load(0), unless(unix.SYS_PWRITE64, 3), // the call's number
		load(16 + 2*8), unless(size, 1), // its third argument
		ret(unix.SECCOMP_RET_ERRNO | uint32(with)),
		ret(unix.SECCOMP_RET_ALLOW),
	}
	if _, _, e := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); e != 0 {
		return fmt.Errorf("no_new_privs: %w", e)
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog))); e != 0 {
		return fmt.Errorf("seccomp: %w", e)
	}
	return nil
}

// dropCapabilities takes them from a process of root.
func dropCapabilities(list ...uint) error {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if err := unix.Capget(&h, &d[0]); err != nil {
		return fmt.Errorf("capget: %w", err)
	}
	for _, c := range list {
		d[c/32].Effective &^= 1 << (c % 32)
		d[c/32].Permitted &^= 1 << (c % 32)
	}
	if _, _, e := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&h)), uintptr(unsafe.Pointer(&d[0])), 0); e != 0 {
		return fmt.Errorf("capset: %w", e)
	}
	return nil
}

// refused runs a copy in a child to which the kernel refuses something, and gives what it said.
func refused(t *testing.T, what, src, dst string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+src, childEnv+"_DST="+dst, childEnv+"_REFUSE="+what)
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Fatalf("exit %d, %v, want 1: %s", code, err, out)
	}
	t.Logf("%s", out)
	return string(out)
}

// TestAQuotaThatIsUsedUpStopsThePassCleanly has a write refused as by a quota, which no look ahead foresees: the file system has room. The
// refusal is the kernel's, by a filter of system calls; a quota itself needs a kernel that has one.
func TestAQuotaThatIsUsedUpStopsThePassCleanly(t *testing.T) {
	src, dst := tree(t, map[string]string{"a": "1", "d/large": strings.Repeat("q", quotaFile), "e/b": "2"})
	copyOK(t, src, dst, Options{Delete: true})
	must(t, os.RemoveAll(filepath.Join(src, "a")))
	must(t, os.WriteFile(src+"/d/large", []byte(strings.Repeat("r", quotaFile)), 0o600))
	said := refused(t, refuseQuota, src, dst)
	for _, want := range []string{"d/large", "quota exceeded", "free: ", "bytes", "inodes", "hint: raise the quota"} {
		if !strings.Contains(said, want) {
			t.Errorf("does not say %q", want)
		}
	}
	noTemps(t, dst)
	if _, err := os.Stat(dst + "/a"); err != nil {
		t.Errorf("something was deleted to make room: %v", err)
	}
	if old, err := os.ReadFile(dst + "/d/large"); err != nil || old[0] != 'q' {
		t.Errorf("the former copy is gone: %v", err)
	}
	if m, err := ReadMarker(dst); err != nil || m.State != MarkerCopying {
		t.Errorf("marker %+v, %v", m, err)
	}
	copyOK(t, src, dst, Options{Delete: true})
	mustEqual(t, src, dst)
}

// TestRootThatIsRefusedFailsAndSaysWhy is root as an NFS server with root_squash sees it: anybody. Without the capability the kernel answers
// as such a server does.
func TestRootThatIsRefusedFailsAndSaysWhy(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("not root: a file that may not be read fails all the same")
		src, dst := tree(t, map[string]string{"a": "1"})
		must(t, os.Chmod(src+"/a", 0))
		if _, err := Copy(t.Context(), src, dst, Options{}); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("err = %v", err)
		}
		return
	}
	for what, tc := range map[string]struct {
		prepare func(src string) error
		want    []string
	}{
		refuseOwners: {func(src string) error { return os.Chown(src+"/home/secrets/master.key", 1000, 1000) }, []string{"master.key", "set owner", "operation not permitted"}},
		refuseReads: {func(src string) error {
			for _, name := range []string{"/home/secrets", "/home/secrets/master.key"} {
				if err := os.Chown(src+name, 1000, 1000); err != nil {
					return err
				}
			}
			return os.Chmod(src+"/home/secrets", 0o700)
		}, []string{"secrets", "permission denied"}},
	} {
		t.Run(what, func(t *testing.T) {
			src, dst := tree(t, map[string]string{"home/config.xml": "<hudson/>", "home/secrets/master.key": "k"})
			must(t, os.Chmod(filepath.Dir(src), 0o755))
			must(t, tc.prepare(src))
			said := refused(t, what, src, dst)
			for _, want := range append(tc.want, "hint: root is refused", "root_squash", "no_root_squash") {
				if !strings.Contains(said, want) {
					t.Errorf("does not say %q", want)
				}
			}
			if m, err := ReadMarker(dst); err != nil || m.State != MarkerCopying {
				t.Errorf("marker %+v, %v: it vouches for a copy that failed", m, err)
			}
			copyOK(t, src, dst, Options{Delete: true})
			mustEqual(t, src, dst)
		})
	}
}

// TestAttributesThatTheTargetRefusesAreNoted has a target that knows no attributes: for root a file system without any, else an entry that
// may have none.
func TestAttributesThatTheTargetRefusesAreNoted(t *testing.T) {
	src, dst := tree(t, map[string]string{"a": "1", "b": "2"})
	for _, name := range []string{"/a", "/b"} {
		must(t, unix.Setxattr(src+name, "user.note", []byte("x"), 0))
	}
	if os.Geteuid() != 0 {
		e, err := newEngine(t.Context(), src, Options{})
		must(t, err)
		defer e.close()
		must(t, unix.Mkfifo(src+"/pipe", 0o600))
		kept, err := e.attrs.apply(xattrs{e.src, "pipe"}, []attr{{"user.note", []byte("x")}}, nil)
		if err != nil || len(kept) > 0 || len(e.rep.Notes) != 1 {
			t.Errorf("%v, %v, %q", kept, err, e.rep.Notes)
		}
		return
	}
	must(t, os.Mkdir(dst, 0o755))
	must(t, unix.Mount("ramfs", dst, "ramfs", 0, ""))
	defer func() { must(t, unix.Unmount(dst, 0)) }()
	plenty := func(int) (space, error) { return space{block: 4096, freeBytes: 1 << 40}, nil } // it tells of none
	rep := copyOK(t, src, dst, Options{statfs: plenty})
	if len(rep.Notes) != 1 || !strings.Contains(rep.Notes[0], "attribute user.note is not kept: operation not supported") {
		t.Errorf("notes: %q", rep.Notes)
	}
}

// TestLabelsOfSELinuxStayBehindAndThatIsSaid needs a kernel that keeps a label without asking a policy for it, and root to write one.
func TestLabelsOfSELinuxStayBehindAndThatIsSaid(t *testing.T) {
	const label, name = "system_u:object_r:container_file_t:s0", "security.selinux"
	src, dst := tree(t, map[string]string{"a": "1", "d/b": "2"})
	note := "attribute " + name + " is left behind: the target's own policy sets it"
	if err := unix.Setxattr(src+"/a", name, []byte(label), 0); err != nil {
		t.Logf("no label can be written (%v): the decision alone is exercised", err)
		e, err := newEngine(t.Context(), src, Options{})
		must(t, err)
		defer e.close()
		e.attrs.passBy(name)
		e.attrs.passBy(name)
		if !foreign(name) || !slices.Equal(e.rep.Notes, []string{note}) {
			t.Errorf("notes: %q", e.rep.Notes)
		}
		return
	}
	must(t, unix.Setxattr(src, name, []byte(label), 0))
	for how, do := range map[string]func(testing.TB, string, string, Options) *Report{"near": copyOK, "far": copyFromOK} {
		rep := do(t, src, dst+how, Options{})
		if !slices.Equal(rep.Notes, []string{note}) {
			t.Errorf("%s: notes: %q", how, rep.Notes)
		}
		var got [100]byte
		if n, err := unix.Lgetxattr(dst+how+"/a", name, got[:]); err == nil && string(got[:n]) == label {
			t.Errorf("%s: the label was copied", how)
		}
	}
}
