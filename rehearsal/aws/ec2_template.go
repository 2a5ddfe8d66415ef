package aws

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

var templateOperations = map[string]operation{
	"CreateLaunchTemplate":           writes((*Cloud).createLaunchTemplate, "LaunchTemplateName", "LaunchTemplateData"),
	"CreateLaunchTemplateVersion":    writes((*Cloud).createLaunchTemplateVersion, "LaunchTemplateData"),
	"ModifyLaunchTemplate":           writes((*Cloud).modifyLaunchTemplate),
	"DeleteLaunchTemplate":           writes((*Cloud).deleteLaunchTemplate),
	"DescribeLaunchTemplates":        reads((*Cloud).describeLaunchTemplates),
	"DescribeLaunchTemplateVersions": reads((*Cloud).describeLaunchTemplateVersions),
}

func (c *Cloud) createLaunchTemplate(req *request) (any, error) {
	token, name := req.form.Get("ClientToken"), req.form.Get("LaunchTemplateName")
	id, err := c.once(req, token, func(id string) bool { _, ok := c.ec2.templates.find(id); return ok })
	if err != nil {
		return nil, err
	}
	if t, ok := c.ec2.templates.find(id); ok {
		return []node{c.templateNode("launchTemplate", t)}, nil
	}
	if slices.ContainsFunc(c.ec2.templates.rows, func(t *launchTemplate) bool { return t.name == name }) {
		return nil, fail("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.")
	}
	if len(name) < 3 || len(name) > 128 {
		return nil, fail("InvalidLaunchTemplateName.MalformedException", "Launch template name must be between 3 and 128 characters")
	}
	if err := badTagSpecification(req, "launch-template"); err != nil {
		return nil, err
	}
	t := &launchTemplate{meta: c.newMeta(req, "launch-template", "lt"), name: name, defaultVersion: 1}
	t.versions = []templateVersion{newTemplateVersion(req, 1)}
	c.ec2.templates.rows = append(c.ec2.templates.rows, t)
	c.remember(req, token, t.id)
	return []node{c.templateNode("launchTemplate", t)}, nil
}

// templateOf finds a template by id or name.
func (c *Cloud) templateOf(id, name string) (*launchTemplate, error) {
	if id != "" {
		return c.ec2.templates.get(id)
	}
	for _, t := range c.ec2.templates.rows {
		if t.name == name {
			return t, nil
		}
	}
	return nil, fail("InvalidLaunchTemplateName.NotFoundException", "The specified launch template, with template name %s, does not exist.", name)
}

func (c *Cloud) templateOfRequest(req *request) (*launchTemplate, error) {
	return c.templateOf(req.form.Get("LaunchTemplateId"), req.form.Get("LaunchTemplateName"))
}

func (c *Cloud) createLaunchTemplateVersion(req *request) (any, error) {
	t, err := c.templateOfRequest(req)
	if err != nil {
		return nil, err
	}
	token := req.form.Get("ClientToken")
	old, err := c.once(req, token, func(string) bool { return true })
	if err != nil {
		return nil, err
	}
	for _, v := range t.versions {
		if old == t.id+"/"+strconv.Itoa(v.number) {
			return []node{c.templateVersionNode("launchTemplateVersion", t, v)}, nil
		}
	}
	v := newTemplateVersion(req, t.versions[len(t.versions)-1].number+1)
	t.versions = append(t.versions, v)
	c.remember(req, token, t.id+"/"+strconv.Itoa(v.number))
	return []node{c.templateVersionNode("launchTemplateVersion", t, v)}, nil
}

func newTemplateVersion(req *request, number int) templateVersion {
	v := templateVersion{number: number, description: req.form.Get("VersionDescription"), created: time.Now(), params: map[string]string{}}
	for k, vs := range req.form {
		if rest, ok := strings.CutPrefix(k, "LaunchTemplateData."); ok {
			v.params[rest] = vs[0]
		}
	}
	v.data = templateData(v.params)
	return v
}

// templateData renders request parameters in the shape of the response, whose element names differ for lists.
func templateData(p map[string]string) []node {
	renames := map[string]string{"BlockDeviceMapping": "blockDeviceMappingSet", "TagSpecification": "tagSpecificationSet", "Tag": "tagSet",
		"SecurityGroupId": "securityGroupIdSet", "SecurityGroup": "securityGroupSet", "NetworkInterface": "networkInterfaceSet", "RamDiskId": "ramDiskId"}
	return nest(p, renames)
}

// nest turns dotted parameter names into a tree of elements; numbers are list positions.
func nest(p map[string]string, renames map[string]string) []node {
	groups := map[string]map[string]string{}
	leaves := map[string]string{}
	for k, v := range p {
		head, rest, deeper := strings.Cut(k, ".")
		if !deeper {
			leaves[head] = v
			continue
		}
		if groups[head] == nil {
			groups[head] = map[string]string{}
		}
		groups[head][rest] = v
	}
	var out []node
	name := func(s string) string {
		if r, ok := renames[s]; ok {
			return r
		}
		if _, err := strconv.Atoi(s); err == nil {
			return "item"
		}
		return lowerFirst(s)
	}
	for _, k := range sortedKeys(leaves) {
		out = append(out, el(name(k), leaves[k]))
	}
	for _, k := range sortedKeys(groups) {
		out = append(out, group(name(k), nest(groups[k], renames)...))
	}
	return out
}

func (c *Cloud) templateNode(name string, t *launchTemplate) node {
	return group(name, el("launchTemplateId", t.id), el("launchTemplateName", t.name), el("createTime", t.created), el("createdBy", c.iamARN()+":root"),
		el("defaultVersionNumber", t.defaultVersion), el("latestVersionNumber", t.versions[len(t.versions)-1].number), tagSet(t.tags))
}

func (c *Cloud) templateVersionNode(name string, t *launchTemplate, v templateVersion) node {
	return group(name, el("launchTemplateId", t.id), el("launchTemplateName", t.name), el("versionNumber", v.number), opt("versionDescription", v.description),
		el("createTime", v.created), el("createdBy", c.iamARN()+":root"), el("defaultVersion", v.number == t.defaultVersion), group("launchTemplateData", v.data...))
}

func (c *Cloud) modifyLaunchTemplate(req *request) (any, error) {
	t, err := c.templateOfRequest(req)
	if err != nil {
		return nil, err
	}
	v, err := t.version(req.form.Get("SetDefaultVersion"))
	if err != nil {
		return nil, err
	}
	t.defaultVersion = v.number
	return []node{c.templateNode("launchTemplate", t)}, nil
}

// version resolves a number, $Latest, $Default or "".
func (t *launchTemplate) version(s string) (templateVersion, error) {
	number := t.defaultVersion
	switch s {
	case "", "$Default":
	case "$Latest":
		number = t.versions[len(t.versions)-1].number
	default:
		number, _ = strconv.Atoi(s)
	}
	for _, v := range t.versions {
		if v.number == number {
			return v, nil
		}
	}
	return templateVersion{}, fail("InvalidLaunchTemplateId.VersionNotFound", "Could not find the specified version %s for the launch template with ID %s.", s, t.id)
}

func (c *Cloud) deleteLaunchTemplate(req *request) (any, error) {
	t, err := c.templateOfRequest(req)
	if err != nil {
		return nil, err
	}
	req.deleted = append(req.deleted, t.id)
	c.ec2.templates.remove(t.id)
	return []node{c.templateNode("launchTemplate", t)}, nil
}

func (c *Cloud) describeLaunchTemplates(req *request) (any, error) {
	for i, name := range list(req, "LaunchTemplateName") {
		t, err := c.templateOf("", name)
		if err != nil {
			return nil, err
		}
		req.form.Set(fmt.Sprintf("LaunchTemplateId.%d", i+1), t.id)
	}
	filters := attributes[*launchTemplate]{"launch-template-name": one(func(t *launchTemplate) string { return t.name })}
	return describe(c, req, &c.ec2.templates, "LaunchTemplateId", "launchTemplates", filters, func(t *launchTemplate) node { return c.templateNode("", t) })
}

func (c *Cloud) describeLaunchTemplateVersions(req *request) (any, error) {
	t, err := c.templateOfRequest(req)
	if err != nil {
		return nil, err
	}
	wanted := list(req, "LaunchTemplateVersion")
	var out []node
	for _, v := range t.versions {
		if len(wanted) == 0 {
			out = append(out, c.templateVersionNode("", t, v))
		}
	}
	for _, w := range wanted {
		v, err := t.version(w)
		if err != nil {
			return nil, err
		}
		out = append(out, c.templateVersionNode("", t, v))
	}
	page, next, err := paginate(c, req, out, "LaunchTemplateVersion")
	return []node{items("launchTemplateVersionSet", page...), opt("nextToken", next)}, err
}
