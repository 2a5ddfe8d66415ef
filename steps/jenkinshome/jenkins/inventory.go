package jenkins

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Inventory is what a controller holds, small enough for a ConfigMap: what must be the same before and after a move.
type Inventory struct {
	Version string            `json:"version"`
	Jobs    map[string]Job    `json:"jobs"`    // by full name
	Plugins map[string]string `json:"plugins"` // version by short name
	Failed  []string          `json:"failed,omitempty"`
}

// Job is one job that can be built; folders are not among them.
type Job struct {
	Last int `json:"l,omitempty"` // number of the last build; 0: none
	Next int `json:"n,omitempty"` // next build number
}

type item struct {
	Name, FullName  string
	Buildable       *bool
	LastBuild       *struct{ Number int }
	NextBuildNumber *int
	Jobs            []item
}

// depth of folders that is asked for at once; deeper ones are asked for one by one.
const depth = 6

// Inventory reads jobs, build numbers and plugins.
func (c *Client) Inventory(ctx context.Context) (Inventory, error) {
	inv := Inventory{Jobs: map[string]Job{}, Plugins: map[string]string{}}
	var err error
	if inv.Version, _, err = c.Version(ctx); err != nil {
		return inv, err
	}
	if err := c.jobs(ctx, "", "", inv.Jobs); err != nil {
		return inv, err
	}
	var a struct {
		Plugins []struct {
			ShortName, Version string
			Enabled, Active    bool
		}
		FailedPlugins []struct{ Name string }
	}
	q := url.Values{"depth": {"1"}, "tree": {"plugins[shortName,version,enabled,active],failedPlugins[name]"}}
	if err := c.get(ctx, "/pluginManager/api/json", q, &a); err != nil {
		return inv, err
	}
	for _, p := range a.Plugins {
		inv.Plugins[p.ShortName] = p.Version
		if p.Enabled && !p.Active {
			inv.Failed = append(inv.Failed, p.ShortName)
		}
	}
	for _, p := range a.FailedPlugins {
		inv.Failed = append(inv.Failed, p.Name)
	}
	slices.Sort(inv.Failed)
	inv.Failed = slices.Compact(inv.Failed)
	return inv, nil
}

func (c *Client) jobs(ctx context.Context, path, folder string, into map[string]Job) error {
	fields := "name,fullName,buildable,nextBuildNumber,lastBuild[number]"
	tree := fields
	for range depth {
		tree = fields + ",jobs[" + tree + "]"
	}
	var a struct{ Jobs []item }
	if err := c.get(ctx, path+"/api/json", url.Values{"tree": {"jobs[" + tree + "]"}}, &a); err != nil {
		return err
	}
	return c.collect(ctx, path, folder, a.Jobs, depth, into)
}

func (c *Client) collect(ctx context.Context, path, folder string, items []item, left int, into map[string]Job) error {
	for _, it := range items {
		full := it.FullName
		if full == "" {
			full = strings.TrimPrefix(folder+"/"+it.Name, "/")
		}
		below := path + "/job/" + url.PathEscape(it.Name)
		switch {
		case it.NextBuildNumber != nil || it.LastBuild != nil:
			j := Job{}
			if it.LastBuild != nil {
				j.Last = it.LastBuild.Number
			}
			if it.NextBuildNumber != nil {
				j.Next = *it.NextBuildNumber
			}
			into[full] = j
		case left == 0: // maybe a folder with more below
			if err := c.jobs(ctx, below, full, into); err != nil {
				return err
			}
		}
		if err := c.collect(ctx, below, full, it.Jobs, left-1, into); err != nil {
			return err
		}
	}
	return nil
}

// Difference says what a new controller lacks or has otherwise than the old one; the first 20, and how many in all. Jobs and plugins that
// only the new one has are not among them, nor are builds that it has made since.
func Difference(before, after Inventory) (first []string, all int) {
	var out []string
	if Older(after.Version, before.Version) {
		out = append(out, fmt.Sprintf("Jenkins is %s, older than %s was: it may not read what that one wrote", after.Version, before.Version))
	}
	for _, name := range sorted(before.Jobs) {
		old := before.Jobs[name]
		now, ok := after.Jobs[name]
		switch {
		case !ok:
			out = append(out, "job "+name+" is missing")
		case now.Last < old.Last:
			out = append(out, fmt.Sprintf("job %s: last build is %d, was %d", name, now.Last, old.Last))
		case now.Next < old.Next:
			out = append(out, fmt.Sprintf("job %s: next build number is %d, was %d", name, now.Next, old.Next))
		}
	}
	for _, name := range sorted(before.Plugins) {
		switch now, ok := after.Plugins[name]; {
		case !ok:
			out = append(out, "plugin "+name+" is missing")
		case now != before.Plugins[name]:
			out = append(out, fmt.Sprintf("plugin %s is %s, was %s", name, now, before.Plugins[name]))
		}
	}
	for _, name := range after.Failed {
		if !slices.Contains(before.Failed, name) {
			out = append(out, "plugin "+name+" failed to load")
		}
	}
	return out[:min(len(out), 20)], len(out)
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
