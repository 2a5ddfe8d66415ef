package aws

import (
	"slices"
	"strings"
	"time"
)

type parameter struct {
	name, kind, value string
	version           int
	modified          time.Time
	tags              map[string]string
}

var parameterOperations = map[string]operation{
	"GetParameter":           reads((*Cloud).getParameter, "Name"),
	"GetParameters":          reads((*Cloud).getParameters, "Names"),
	"GetParametersByPath":    reads((*Cloud).getParametersByPath, "Path"),
	"DescribeParameters":     reads((*Cloud).describeParameters),
	"PutParameter":           writes((*Cloud).putParameter, "Name", "Value"),
	"DeleteParameter":        writes((*Cloud).deleteParameter, "Name"),
	"DeleteParameters":       writes((*Cloud).deleteParameters, "Names"),
	"AddTagsToResource":      tags((*Cloud).addTagsToResource, "ResourceId", "Tags"),
	"RemoveTagsFromResource": tags((*Cloud).removeTagsFromResource, "ResourceId", "TagKeys"),
	"ListTagsForResource":    reads((*Cloud).listParameterTags, "ResourceId"),
}

// text, texts and flag read members of a JSON body.
func text(m map[string]any, key string) string { s, _ := m[key].(string); return s }

func textList(m map[string]any, key string) []string {
	var out []string
	list, _ := m[key].([]any)
	for _, v := range list {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func flag(m map[string]any, key string) bool { b, _ := m[key].(bool); return b }

func object(m map[string]any, key string) map[string]any { o, _ := m[key].(map[string]any); return o }

func integer(m map[string]any, key string, dflt int) int {
	if f, ok := m[key].(float64); ok {
		return int(f)
	}
	return dflt
}

func textMap(m map[string]any, key string) map[string]string {
	out := map[string]string{}
	for k, v := range object(m, key) {
		out[k], _ = v.(string)
	}
	return out
}

func jsonTags(m map[string]any) map[string]string {
	out := map[string]string{}
	list, _ := m["Tags"].([]any)
	for _, t := range list {
		if kv, ok := t.(map[string]any); ok {
			out[text(kv, "Key")] = text(kv, "Value")
		}
	}
	return out
}

func epoch(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// public answers for the parameters that AWS publishes: recommended releases of EKS's images, and Bottlerocket's.
func (c *Cloud) public(name string) *parameter {
	value := ""
	if rest, ok := strings.CutPrefix(name, "/aws/service/eks/optimized-ami/"); ok {
		f := strings.Split(rest, "/")
		if v := versionNamed(f[0]); v != nil && len(f) > 2 && f[len(f)-2] == "recommended" {
			value = map[string]string{"release_version": c.release(v, ""), "image_id": "ami-0" + digits(rest, 16)}[f[len(f)-1]]
		}
	}
	if rest, ok := strings.CutPrefix(name, "/aws/service/bottlerocket/aws-k8s-"); ok && strings.HasSuffix(rest, "/latest/image_version") {
		number, _, _ := strings.Cut(rest, "/")
		number, _, _ = strings.Cut(number, "-")
		if v := versionNamed(number); v != nil {
			value = c.release(v, "BOTTLEROCKET")
		}
	}
	if value == "" {
		return nil
	}
	return &parameter{name: name, kind: "String", value: value, version: 1, modified: c.start}
}

// visibleParameter finds a parameter by name or ARN.
func (c *Cloud) visibleParameter(name string) *parameter {
	if _, rest, ok := strings.Cut(name, ":parameter"); ok {
		name = rest
	}
	if p := c.ssm[name]; p != nil {
		return p
	}
	return c.public(name)
}

func (c *Cloud) parameterDoc(p *parameter, decrypt bool) map[string]any {
	value := p.value
	if p.kind == "SecureString" && !decrypt {
		value = "AQICAHencrypted" + digits(p.name+p.value, 24)
	}
	return map[string]any{"Name": p.name, "Type": p.kind, "Value": value, "Version": p.version, "LastModifiedDate": epoch(p.modified),
		"ARN": c.arn("ssm", "parameter/"+strings.TrimPrefix(p.name, "/")), "DataType": "text"}
}

func (c *Cloud) getParameter(req *request) (any, error) {
	p := c.visibleParameter(text(req.body, "Name"))
	if p == nil {
		return nil, fail("ParameterNotFound", "Parameter %s not found.", text(req.body, "Name"))
	}
	return map[string]any{"Parameter": c.parameterDoc(p, flag(req.body, "WithDecryption"))}, nil
}

func (c *Cloud) getParameters(req *request) (any, error) {
	names := textList(req.body, "Names")
	if len(names) > 10 {
		return nil, fail("ValidationException", "1 validation error detected: Value at 'names' failed to satisfy constraint: Member must have length less than or equal to 10")
	}
	found, invalid := []any{}, []string{}
	for _, name := range names {
		if p := c.visibleParameter(name); p != nil {
			found = append(found, c.parameterDoc(p, flag(req.body, "WithDecryption")))
		} else {
			invalid = append(invalid, name)
		}
	}
	return map[string]any{"Parameters": found, "InvalidParameters": invalid}, nil
}

func (c *Cloud) getParametersByPath(req *request) (any, error) {
	path := strings.TrimSuffix(text(req.body, "Path"), "/") + "/"
	var rows []any
	for _, name := range sortedKeys(c.ssm) {
		rest, ok := strings.CutPrefix(name, path)
		if ok && (flag(req.body, "Recursive") || !strings.Contains(rest, "/")) {
			rows = append(rows, c.parameterDoc(c.ssm[name], flag(req.body, "WithDecryption")))
		}
	}
	return c.jsonPage(req, "Parameters", rows, 10)
}

// jsonPage cuts a page by MaxResults and NextToken.
func (c *Cloud) jsonPage(req *request, name string, rows []any, limit int) (any, error) {
	size := integer(req.body, "MaxResults", limit)
	if c.opt.PageSize > 0 {
		size = min(size, c.opt.PageSize)
	}
	page, next, err := pageOf(rows, min(size, limit), text(req.body, "NextToken"))
	if err != nil {
		return nil, err
	}
	out := map[string]any{name: append([]any{}, page...)}
	if next != "" {
		out["NextToken"] = next
	}
	return out, nil
}

func (c *Cloud) describeParameters(req *request) (any, error) {
	filters, _ := req.body["ParameterFilters"].([]any)
	var rows []any
	for _, name := range sortedKeys(c.ssm) {
		p, keep := c.ssm[name], true
		for _, f := range filters {
			m, _ := f.(map[string]any)
			ok, err := p.matches(text(m, "Key"), text(m, "Option"), textList(m, "Values"))
			if err != nil {
				return nil, err
			}
			keep = keep && ok
		}
		if keep {
			rows = append(rows, map[string]any{"Name": p.name, "Type": p.kind, "Version": p.version, "LastModifiedDate": epoch(p.modified), "DataType": "text", "Tier": "Standard"})
		}
	}
	return c.jsonPage(req, "Parameters", rows, 50)
}

func (p *parameter) matches(key, option string, values []string) (bool, error) {
	if tag, ok := strings.CutPrefix(key, "tag:"); ok {
		v, has := p.tags[tag]
		return has && (len(values) == 0 || slices.Contains(values, v)), nil
	}
	have := map[string]string{"Name": p.name, "Type": p.kind, "Path": p.name}[key]
	if have == "" {
		return false, fail("InvalidFilterKey", "The specified key %s isn't valid.", key)
	}
	return slices.ContainsFunc(values, func(v string) bool {
		switch {
		case key == "Path":
			return strings.HasPrefix(p.name, strings.TrimSuffix(v, "/")+"/")
		case option == "BeginsWith":
			return strings.HasPrefix(have, v)
		case option == "Contains":
			return strings.Contains(have, v)
		}
		return have == v
	}), nil
}

// putParameter is atomic: of two puts without Overwrite one fails.
func (c *Cloud) putParameter(req *request) (any, error) {
	name, kind := text(req.body, "Name"), text(req.body, "Type")
	old := c.ssm[name]
	switch {
	case strings.HasPrefix(name, "/aws") || strings.HasPrefix(name, "/ssm"):
		return nil, fail("AccessDeniedException", "No access to reserved parameter name: %s.", name)
	case len(text(req.body, "Value")) > 4096:
		return nil, fail("ValidationException", "Standard tier parameters support a maximum parameter value of 4096 characters. To create a larger parameter value, upgrade the parameter to use the advanced-parameter tier.")
	case old != nil && !flag(req.body, "Overwrite"):
		return nil, fail("ParameterAlreadyExists", "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.")
	case old == nil && kind == "":
		return nil, fail("ValidationException", "A parameter type is required when you create a parameter.")
	case flag(req.body, "Overwrite") && len(jsonTags(req.body)) > 0:
		return nil, fail("ValidationException", "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove overwrite flag.")
	}
	p := &parameter{name: name, kind: kind, value: text(req.body, "Value"), version: 1, modified: time.Now(), tags: jsonTags(req.body)}
	if old != nil {
		p.version, p.tags = old.version+1, old.tags
		if kind == "" {
			p.kind = old.kind
		}
	} else {
		req.created = append(req.created, name)
	}
	c.ssm[name] = p
	return map[string]any{"Version": p.version, "Tier": "Standard"}, nil
}

func (c *Cloud) deleteParameter(req *request) (any, error) {
	name := text(req.body, "Name")
	if c.ssm[name] == nil {
		return nil, fail("ParameterNotFound", "Parameter %s not found.", name)
	}
	delete(c.ssm, name)
	req.deleted = append(req.deleted, name)
	return nil, nil
}

func (c *Cloud) deleteParameters(req *request) (any, error) {
	gone, invalid := []string{}, []string{}
	for _, name := range textList(req.body, "Names") {
		if c.ssm[name] == nil {
			invalid = append(invalid, name)
			continue
		}
		delete(c.ssm, name)
		gone = append(gone, name)
	}
	req.deleted = append(req.deleted, gone...)
	return map[string]any{"DeletedParameters": gone, "InvalidParameters": invalid}, nil
}

func (c *Cloud) taggedParameter(req *request) (*parameter, error) {
	if p := c.ssm[text(req.body, "ResourceId")]; p != nil && text(req.body, "ResourceType") == "Parameter" {
		return p, nil
	}
	return nil, fail("InvalidResourceId", "The resource ID %q is not valid", text(req.body, "ResourceId"))
}

func (c *Cloud) addTagsToResource(req *request) (any, error) {
	p, err := c.taggedParameter(req)
	if err != nil {
		return nil, err
	}
	for k, v := range jsonTags(req.body) {
		p.tags[k] = v
	}
	return nil, nil
}

func (c *Cloud) removeTagsFromResource(req *request) (any, error) {
	p, err := c.taggedParameter(req)
	if err != nil {
		return nil, err
	}
	for _, k := range textList(req.body, "TagKeys") {
		delete(p.tags, k)
	}
	return nil, nil
}

func (c *Cloud) listParameterTags(req *request) (any, error) {
	p, err := c.taggedParameter(req)
	if err != nil {
		return nil, err
	}
	rows := []any{}
	for _, k := range sortedKeys(p.tags) {
		rows = append(rows, map[string]any{"Key": k, "Value": p.tags[k]})
	}
	return map[string]any{"TagList": rows}, nil
}
