package syncargocd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"

	"pipectl.dev/steps"
)

// headsOf reads, by git ls-remote, the commits that the branches of an Application's Git sources point at now.
func headsOf(ctx context.Context, app *argo.Application) ([]string, error) {
	var out []string
	for _, s := range app.Spec.GetSources() {
		if s.Chart != "" || commit.MatchString(s.TargetRevision) {
			continue
		}
		h, err := lsRemote(ctx, s.RepoURL, cmp.Or(s.TargetRevision, "HEAD"))
		if err != nil {
			return nil, err
		}
		out = append(out, h)
	}
	return out, nil
}

// lsRemote asks git, which knows every protocol and the user's own credentials. It never asks a person.
func lsRemote(ctx context.Context, url, ref string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", "ls-remote", "--exit-code", "--", url, ref, "refs/heads/"+ref, "refs/tags/"+ref+"^{}")
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0")
	var said strings.Builder
	cmd.Stderr = &said
	raw, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "", &steps.Error{Code: "NoGit", Category: steps.Precondition, Message: "git ls-remote: there is no git on this machine",
			Hints: []string{"install git, or name the commit as `want.commit` or `revision`, which need none"}}
	}
	if err != nil {
		return "", &steps.Error{Code: "LsRemote", Category: steps.Precondition, Message: fmt.Sprintf("git ls-remote %s %s: %s", withoutUser(url), ref, cmp.Or(firstLine(said.String()), err.Error())),
			Hints: []string{"can git read the repository from here, with the credentials it finds (GIT_ASKPASS, ~/.git-credentials, an SSH agent)?"}}
	}
	return headIn(string(raw), ref), nil
}

// headIn picks what ref means in the answer: the branch of that name, else the commit of a tag, else what came first.
func headIn(answer, ref string) string {
	found := map[string]string{}
	first := ""
	for line := range strings.Lines(answer) {
		sha, name, _ := strings.Cut(strings.TrimSpace(line), "\t")
		found[name] = sha
		first = cmp.Or(first, sha)
	}
	return cmp.Or(found["refs/heads/"+ref], found["refs/tags/"+ref+"^{}"], first)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// withoutUser drops what stands before the host of a URL: it may be a password.
func withoutUser(url string) string {
	scheme, rest, found := strings.Cut(url, "://")
	if !found {
		return url
	}
	host, path, _ := strings.Cut(rest, "/")
	if i := strings.LastIndex(host, "@"); i >= 0 {
		host = host[i+1:]
	}
	return scheme + "://" + host + "/" + path
}
