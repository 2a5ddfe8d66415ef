package aws

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// logGroup is a CloudWatch log group.
type logGroup struct {
	name      string
	retention int // days; 0: for ever
	tags      map[string]string
	created   time.Time
}

var logOperations = map[string]operation{
	"CreateLogGroup":      writes((*Cloud).createLogGroup, "logGroupName"),
	"DescribeLogGroups":   reads((*Cloud).describeLogGroups),
	"DeleteLogGroup":      writes((*Cloud).deleteLogGroup, "logGroupName"),
	"PutRetentionPolicy":  writes((*Cloud).putRetention, "logGroupName", "retentionInDays"),
	"ListTagsForResource": reads((*Cloud).listLogTags, "resourceArn"),
}

func (c *Cloud) logARN(name string) string { return c.arn("logs", "log-group:"+name) }

func (c *Cloud) createLogGroup(req *request) (any, error) {
	name := text(req.body, "logGroupName")
	if c.logs[name] != nil {
		return nil, fail("ResourceAlreadyExistsException", "The specified log group already exists")
	}
	c.logs[name] = &logGroup{name: name, tags: textMap(req.body, "tags"), created: time.Now()}
	req.created = append(req.created, c.logARN(name))
	return nil, nil
}

func (c *Cloud) describeLogGroups(req *request) (any, error) {
	rows := []any{}
	for _, name := range sortedKeys(c.logs) {
		if !strings.HasPrefix(name, text(req.body, "logGroupNamePrefix")) {
			continue
		}
		g := c.logs[name]
		doc := map[string]any{"logGroupName": name, "arn": c.logARN(name) + ":*", "logGroupArn": c.logARN(name), "creationTime": g.created.UnixMilli(), "storedBytes": 1 << 20, "metricFilterCount": 0}
		if g.retention > 0 {
			doc["retentionInDays"] = g.retention
		}
		rows = append(rows, doc)
	}
	return map[string]any{"logGroups": rows}, nil
}

func (c *Cloud) groupOf(req *request) (*logGroup, error) {
	if g := c.logs[text(req.body, "logGroupName")]; g != nil {
		return g, nil
	}
	return nil, fail("ResourceNotFoundException", "The specified log group does not exist.")
}

func (c *Cloud) deleteLogGroup(req *request) (any, error) {
	g, err := c.groupOf(req)
	if err != nil {
		return nil, err
	}
	delete(c.logs, g.name)
	req.deleted = append(req.deleted, c.logARN(g.name))
	for _, cl := range c.eks { // a control plane that logs makes its group anew
		if controlPlaneLogs(cl.name) == g.name {
			c.after(time.Minute, func() { c.writeLogs(cl) })
		}
	}
	return nil, nil
}

func (c *Cloud) putRetention(req *request) (any, error) {
	g, err := c.groupOf(req)
	if err != nil {
		return nil, err
	}
	days := integer(req.body, "retentionInDays", 0)
	if !slices.Contains([]int{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}, days) {
		return nil, fail("InvalidParameterException", "1 validation error detected: Value '%d' at 'retentionInDays' failed to satisfy constraint: Member must satisfy enum value set", days)
	}
	g.retention = days
	return nil, nil
}

func (c *Cloud) listLogTags(req *request) (any, error) {
	name := strings.TrimPrefix(text(req.body, "resourceArn"), c.logARN(""))
	g := c.logs[name]
	if g == nil {
		return nil, fail("ResourceNotFoundException", "The specified log group does not exist.")
	}
	return map[string]any{"tags": maps.Clone(g.tags)}, nil
}

func controlPlaneLogs(cluster string) string { return "/aws/eks/" + cluster + "/cluster" }

// writeLogs makes the log group of a control plane that logs, where there is none.
func (c *Cloud) writeLogs(cl *cluster) {
	setups, _ := object(cl.doc, "logging")["clusterLogging"].([]any)
	on := false
	for _, s := range setups {
		m, _ := s.(map[string]any)
		on = on || flag(m, "enabled")
	}
	name := controlPlaneLogs(cl.name)
	if c.eks[cl.name] == cl && on && c.logs[name] == nil {
		c.logs[name] = &logGroup{name: name, tags: map[string]string{}, created: time.Now()}
	}
}

func (c *Cloud) inspectLogs() []Resource {
	var out []Resource
	for _, name := range sortedKeys(c.logs) {
		out = append(out, Resource{Kind: "logs:group", ID: c.logARN(name), Name: name, Tags: maps.Clone(c.logs[name].tags)})
	}
	return out
}
