package rehearsal

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/pipelines"
	"pipectl.dev/rehearsal/aws"
)

// shipped writes the embedded pipelines where a file path is needed.
func shipped(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, pipelines.Files); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestOutlineOfTheBlog(t *testing.T) {
	o, err := readOutline(filepath.Join(shipped(t), "blog.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"cutover"}, o.approvals()); diff != "" {
		t.Errorf("approvals (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"gitops": "https://github.com/me/blog-gitops"}, o.gitURLs()); diff != "" {
		t.Errorf("git URLs (-want +got):\n%s", diff)
	}
	if o.Spec.Params["adminPassword"].From.SSM != "/blog/jenkins-admin" || o.Spec.Params["jenkinsToken"].From.Env != "JENKINS_TOKEN" {
		t.Errorf("secret sources: %+v", o.Spec.Params)
	}
}

func TestMakeRepo(t *testing.T) {
	dir := t.TempDir()
	if err := makeRepo(t.Context(), dir, "https://github.com/me/blog-gitops"); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "apps", "jenkins.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(raw), "repoURL: file://"+dir) {
		t.Errorf("the repository does not name itself:\n%s", raw)
	}
	if err := git(t.Context(), dir, "rev-parse", "HEAD"); err != nil {
		t.Error(err)
	}
	if err := git(t.Context(), dir, "diff", "--exit-code", "HEAD"); err != nil {
		t.Error("something is not committed:", err)
	}
}

func TestDigest(t *testing.T) {
	for change, do := range map[string]func(dir string) error{
		"a changed byte":      func(dir string) error { return os.WriteFile(filepath.Join(dir, "a"), []byte("y"), 0o644) },
		"a new file":          func(dir string) error { return os.WriteFile(filepath.Join(dir, "c"), nil, 0o644) },
		"a changed mode":      func(dir string) error { return os.Chmod(filepath.Join(dir, "a"), 0o600) },
		"a missing file":      func(dir string) error { return os.Remove(filepath.Join(dir, "a")) },
		"a link elsewhere":    func(dir string) error { return relink(filepath.Join(dir, "l"), "other") },
		"a renamed directory": func(dir string) error { return os.Rename(filepath.Join(dir, "d"), filepath.Join(dir, "e")) },
	} {
		t.Run(change, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir)
			before, err := digest(dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			if same, err := digest(dir, nil); err != nil || same != before {
				t.Fatal("not repeatable", err)
			}
			if err := do(dir); err != nil {
				t.Fatal(err)
			}
			if after, err := digest(dir, nil); err != nil || after == before {
				t.Errorf("not seen (%v)", err)
			}
		})
	}
}

func write(t *testing.T, dir string) {
	t.Helper()
	for name, content := range map[string]string{"a": "x", "d/b": "z"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := relink(filepath.Join(dir, "l"), "a"); err != nil {
		t.Fatal(err)
	}
}

func relink(path, to string) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.Symlink(to, path)
}

func TestSameJobs(t *testing.T) {
	home := func(jobs map[string]string) string {
		dir := t.TempDir()
		for job, n := range jobs {
			if err := os.MkdirAll(filepath.Join(dir, job), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, job, "nextBuildNumber"), []byte(n+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	jobs := map[string]string{"app": "12", "folder/jobs/site": "3"}
	other := maps.Clone(jobs)
	other["app"] = "11"
	fewer := map[string]string{"app": "12"}
	if ok, detail := sameJobs(home(jobs), home(jobs)); !ok {
		t.Error("equal homes differ:", detail)
	}
	for what, b := range map[string]map[string]string{"another number": other, "a missing job": fewer, "no jobs": {}} {
		if ok, _ := sameJobs(home(jobs), home(b)); ok {
			t.Error("not seen:", what)
		}
	}
	if ok, _ := sameJobs(home(nil), home(nil)); ok {
		t.Error("two homes without jobs prove nothing")
	}
}

func TestFindLab(t *testing.T) {
	dir := t.TempDir()
	lab := filepath.Join(dir, "lab")
	if err := os.WriteFile(lab, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	none := func(string) string { return "" }
	if got, err := findLab(Options{Self: filepath.Join(dir, "pipectl"), Getenv: none}); err != nil || got != lab {
		t.Error("beside the binary:", got, err)
	}
	if got, err := findLab(Options{Lab: filepath.Join(dir, "nope"), Self: filepath.Join(dir, "pipectl"), Getenv: none}); err == nil {
		t.Error("a named lab that is not there was replaced by", got)
	}
}

func TestPolicyOfTheClientsCalls(t *testing.T) {
	any := func(action string) []aws.Authorization { return []aws.Authorization{{Action: action, Resource: "*"}} }
	l := &ledger{calls: []aws.Call{
		{Principal: "me", Step: "provision-eks", Needs: any("ec2:DescribeVpcs")}, {Principal: "me", Needs: any("ssm:GetParameter")},
		{Principal: "the driver", Needs: any("ec2:AttachVolume")},
	}}
	want := aws.Policy{Version: "2012-10-17", Statement: []aws.PolicyStatement{
		{Sid: "ProvisionEks", Effect: "Allow", Action: []string{"ec2:DescribeVpcs"}, Resource: []string{"*"}},
		{Sid: "Run", Effect: "Allow", Action: []string{"ssm:GetParameter"}, Resource: []string{"*"}},
	}}
	if diff := cmp.Diff(want, l.policyOf("me")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
