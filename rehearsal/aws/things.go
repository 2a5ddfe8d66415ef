package aws

import (
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// meta is what every EC2 resource has.
type meta struct {
	id, kind string
	created  time.Time
	visible  time.Time // until then calls that name the id do not find it
	tags     map[string]string
}

func (m *meta) m() *meta { return m }

type thing interface{ m() *meta }

// table holds the resources of one kind in the order they were made.
type table[T thing] struct {
	kind, prefix, code, wording string // wording has one %s for the id
	rows                        []T
}

func (t *table[T]) find(id string) (T, bool) {
	for _, row := range t.rows {
		if row.m().id == id {
			return row, true
		}
	}
	var none T
	return none, false
}

// get finds a resource that the client can see by now.
func (t *table[T]) get(id string) (T, error) {
	row, ok := t.find(id)
	if ok && !time.Now().Before(row.m().visible) {
		return row, nil
	}
	var none T
	if !strings.HasPrefix(id, t.prefix+"-") {
		return none, fail(malformed(t.code), "Invalid id: \"%s\" (expecting \"%s-...\")", id, t.prefix)
	}
	return none, fail(t.code, t.wording, id)
}

func malformed(code string) string {
	base, ok := strings.CutSuffix(code, ".NotFound")
	if !ok {
		return code
	}
	return base + ".Malformed"
}

func (t *table[T]) remove(id string) {
	t.rows = slices.DeleteFunc(t.rows, func(row T) bool { return row.m().id == id })
}

// where lists the rows that satisfy keep.
func (t *table[T]) where(keep func(T) bool) []T {
	var out []T
	for _, row := range t.rows {
		if keep(row) {
			out = append(out, row)
		}
	}
	return out
}

// newMeta names a new resource: id, tags of the request's TagSpecifications, and its lag.
func (c *Cloud) newMeta(req *request, kind, prefix string) meta {
	now := time.Now()
	m := meta{id: prefix + "-0" + c.hex(16), kind: kind, created: now, visible: now, tags: map[string]string{}}
	if req != nil {
		if protocols[req.service] == ec2Query {
			m.tags = tagSpecification(req, kind)
		}
		req.created = append(req.created, m.id)
		if !c.opt.NoLag && c.rand.IntN(3) == 0 {
			m.visible = now.Add(c.scaled(time.Duration(c.rand.Int64N(int64(c.nominal("ec2:lag")) + 1))))
		}
	}
	return m
}

func (c *Cloud) hex(n int) string {
	b := make([]byte, (n+1)/2)
	for i := range b {
		b[i] = byte(c.rand.UintN(256))
	}
	return hex.EncodeToString(b)[:n]
}

func (c *Cloud) uuid() string {
	h := c.hex(32)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// tagSpecification collects the tags that a create request carries for one kind of resource.
func tagSpecification(req *request, kind string) map[string]string {
	out := map[string]string{}
	for i := 1; ; i++ {
		p := fmt.Sprintf("TagSpecification.%d", i)
		t := req.form.Get(p + ".ResourceType")
		if t == "" {
			return out
		}
		if t == kind {
			for _, kv := range pairs(req, p+".Tag") {
				out[kv[0]] = kv[1]
			}
		}
	}
}

// badTagSpecification is the refusal of a TagSpecification for another kind of resource.
func badTagSpecification(req *request, kinds ...string) error {
	for i := 1; ; i++ {
		t := req.form.Get(fmt.Sprintf("TagSpecification.%d.ResourceType", i))
		if t == "" {
			return nil
		}
		if !slices.Contains(kinds, t) {
			return fail("InvalidParameterValue", "'%s' is not a valid taggable resource type for this operation.", t)
		}
	}
}

// pairs reads PREFIX.N.Key and PREFIX.N.Value.
func pairs(req *request, prefix string) [][2]string {
	var out [][2]string
	for i := 1; ; i++ {
		k := fmt.Sprintf("%s.%d.Key", prefix, i)
		if !req.form.Has(k) {
			return out
		}
		out = append(out, [2]string{req.form.Get(k), req.form.Get(fmt.Sprintf("%s.%d.Value", prefix, i))})
	}
}

// list reads PREFIX.1, PREFIX.2 ...
func list(req *request, prefix string) []string {
	var out []string
	for i := 1; req.form.Has(fmt.Sprintf("%s.%d", prefix, i)); i++ {
		out = append(out, req.form.Get(fmt.Sprintf("%s.%d", prefix, i)))
	}
	return out
}

// tagSet renders tags in key order.
func tagSet(m map[string]string) node {
	out := node{name: "tagSet"}
	for _, k := range sortedKeys(m) {
		out.kids = append(out.kids, group("item", el("key", k), el("value", m[k])))
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// attributes maps filter names to the values a resource has for them.
type attributes[T thing] map[string]func(T) []string

// one makes a filter of a single value; an empty one matches nothing.
func one[T thing](f func(T) string) func(T) []string {
	return func(t T) []string {
		if v := f(t); v != "" {
			return []string{v}
		}
		return nil
	}
}

// describe answers a Describe* call of EC2: ids, filters, pages.
func describe[T thing](c *Cloud, req *request, t *table[T], ids, set string, filters attributes[T], render func(T) node) (any, error) {
	rows := t.rows
	if wanted := list(req, ids); len(wanted) > 0 {
		rows = nil
		for _, id := range wanted {
			row, err := t.get(id)
			if err != nil {
				return nil, err
			}
			rows = append(rows, row)
		}
	} else if c.opt.LagLists {
		rows = t.where(func(row T) bool { return !time.Now().Before(row.m().visible) })
	}
	rows, err := filterRows(req, rows, filters)
	if err != nil {
		return nil, err
	}
	page, next, err := paginate(c, req, rows, ids)
	if err != nil {
		return nil, err
	}
	nodes := make([]node, len(page))
	for i, row := range page {
		nodes[i] = render(row)
	}
	return []node{items(set, nodes...), opt("nextToken", next)}, nil
}

func filterRows[T thing](req *request, rows []T, filters attributes[T]) ([]T, error) {
	for i := 1; ; i++ {
		name := req.form.Get(fmt.Sprintf("Filter.%d.Name", i))
		if name == "" {
			return rows, nil
		}
		values := list(req, fmt.Sprintf("Filter.%d.Value", i))
		get, err := attribute(name, filters)
		if err != nil {
			return nil, err
		}
		var kept []T
		for _, row := range rows {
			if slices.ContainsFunc(get(row), func(have string) bool {
				return slices.ContainsFunc(values, func(want string) bool { return wildcard(want, have) })
			}) {
				kept = append(kept, row)
			}
		}
		rows = kept
	}
}

func attribute[T thing](name string, filters attributes[T]) (func(T) []string, error) {
	if key, ok := strings.CutPrefix(name, "tag:"); ok {
		return func(t T) []string {
			if v, ok := t.m().tags[key]; ok {
				return []string{v}
			}
			return nil
		}, nil
	}
	if name == "tag-key" {
		return func(t T) []string { return sortedKeys(t.m().tags) }, nil
	}
	if get, ok := filters[name]; ok {
		return get, nil
	}
	return nil, fail("InvalidParameterValue", "The filter '%s' is invalid", name)
}

// wildcard matches EC2's * and ?.
func wildcard(pattern, s string) bool {
	if !strings.ContainsAny(pattern, "*?") {
		return pattern == s
	}
	esc := strings.NewReplacer(`\`, `\\`, `[`, `\[`, `/`, "\x00").Replace(pattern)
	ok, err := path.Match(esc, strings.ReplaceAll(s, "/", "\x00"))
	return err == nil && ok
}

func itoa(n int) string { return strconv.Itoa(n) }
