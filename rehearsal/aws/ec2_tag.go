package aws

import (
	"slices"
	"strings"
)

var ec2TagOperations = map[string]operation{
	"CreateTags":   tags((*Cloud).createTags, "ResourceId", "Tag"),
	"DeleteTags":   tags((*Cloud).deleteTags, "ResourceId"),
	"DescribeTags": reads((*Cloud).describeTags),
}

// taggable resolves the ids of a tag call; each kind keeps its own NotFound code.
func (c *Cloud) taggable(req *request) ([]*meta, error) {
	var out []*meta
	for _, id := range list(req, "ResourceId") {
		m, err := c.metaOf(id)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

func (c *Cloud) metaOf(id string) (*meta, error) {
	s := &c.ec2
	switch prefix, _, _ := strings.Cut(id, "-"); prefix {
	case "vpc":
		return metaIn(&s.vpcs, id)
	case "subnet":
		return metaIn(&s.subnets, id)
	case "igw":
		return metaIn(&s.gateways, id)
	case "eipalloc":
		return metaIn(&s.addresses, id)
	case "nat":
		return metaIn(&s.nats, id)
	case "rtb":
		return metaIn(&s.routeTables, id)
	case "sg":
		return metaIn(&s.groups, id)
	case "eni":
		return metaIn(&s.interfaces, id)
	case "lt":
		return metaIn(&s.templates, id)
	case "i":
		return metaIn(&s.instances, id)
	case "vol":
		return metaIn(&s.volumes, id)
	case "snap":
		return metaIn(&s.snapshots, id)
	}
	return nil, fail("InvalidID", "The ID '%s' is not valid", id)
}

func metaIn[T thing](t *table[T], id string) (*meta, error) {
	row, err := t.get(id)
	if err != nil {
		return nil, err
	}
	return row.m(), nil
}

func (c *Cloud) createTags(req *request) (any, error) {
	rows, err := c.taggable(req)
	if err != nil {
		return nil, err
	}
	kvs := pairs(req, "Tag")
	for _, m := range rows {
		if err := checkTags(m.tags, kvs); err != nil {
			return nil, err
		}
	}
	for _, m := range rows {
		for _, kv := range kvs {
			m.tags[kv[0]] = kv[1]
		}
	}
	return done, nil
}

func checkTags(have map[string]string, add [][2]string) error {
	n := len(have)
	for _, kv := range add {
		if strings.HasPrefix(kv[0], "aws:") {
			return fail("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
		}
		if len(kv[0]) > 128 || len(kv[1]) > 256 {
			return fail("InvalidParameterValue", "Tag value exceeds the maximum length of 256 characters (key 128)")
		}
		if _, ok := have[kv[0]]; !ok {
			n++
		}
	}
	if n > 50 {
		return fail("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
	}
	return nil
}

func (c *Cloud) deleteTags(req *request) (any, error) {
	rows, err := c.taggable(req)
	if err != nil {
		return nil, err
	}
	kvs := pairs(req, "Tag")
	for _, m := range rows {
		if len(kvs) == 0 {
			clear(m.tags)
		}
		for i, kv := range kvs {
			// without a Value the tag goes whatever its value; with one only when it is equal
			if m.tags[kv[0]] == kv[1] || !req.form.Has("Tag."+itoa(i+1)+".Value") {
				delete(m.tags, kv[0])
			}
		}
	}
	return done, nil
}

// tagRow is a line of DescribeTags.
type tagRow struct {
	meta
	key, value, resource, resourceKind string
}

func (c *Cloud) describeTags(req *request) (any, error) {
	var rows []*tagRow
	for _, t := range c.everyEC2() {
		m := t.m()
		for _, k := range sortedKeys(m.tags) {
			rows = append(rows, &tagRow{key: k, value: m.tags[k], resource: m.id, resourceKind: m.kind, meta: meta{tags: map[string]string{k: m.tags[k]}}})
		}
	}
	rows, err := filterRows(req, rows, attributes[*tagRow]{
		"key": one(func(t *tagRow) string { return t.key }), "value": one(func(t *tagRow) string { return t.value }),
		"resource-id": one(func(t *tagRow) string { return t.resource }), "resource-type": one(func(t *tagRow) string { return t.resourceKind }),
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(rows, func(a, b *tagRow) int { return strings.Compare(a.resource, b.resource) })
	page, next, err := paginate(c, req, rows, "")
	if err != nil {
		return nil, err
	}
	var out []node
	for _, t := range page {
		out = append(out, group("", el("key", t.key), el("value", t.value), el("resourceId", t.resource), el("resourceType", t.resourceKind)))
	}
	return []node{items("tagSet", out...), opt("nextToken", next)}, nil
}
