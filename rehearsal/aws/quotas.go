package aws

import (
	"crypto/sha256"
	"encoding/hex"
)

// quotaRow is one service quota; Options.Quotas overrides its value.
type quotaRow struct {
	service, code, name string
	value               float64
	adjustable          bool
	unapplied           bool // GetServiceQuota knows it only once the account has asked for another value
}

var quotaTable = []quotaRow{
	{"vpc", "L-F678F1CE", "VPCs per Region", 5, true, false},
	{"vpc", "L-A4707A72", "Internet gateways per Region", 5, true, false},
	{"vpc", "L-FE5A380F", "NAT gateways per Availability Zone", 5, true, true},
	{"vpc", "L-407747CB", "Subnets per VPC", 200, true, false},
	{"vpc", "L-E79EC296", "VPC security groups per Region", 2500, true, false},
	{"ec2", "L-0263D0A3", "EC2-VPC Elastic IPs", 5, true, false},
	{"ec2", "L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", 64, true, false},
	{"ec2", "L-34B43A08", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", 64, true, false},
	{"ebs", "L-7A658B76", "Storage for General Purpose SSD (gp3) volumes, in TiB", 50, true, true},
	{"ebs", "L-309BACF6", "Snapshots per Region", 100000, true, false},
	{"eks", "L-1194D53C", "Clusters", 100, true, false},
	{"eks", "L-6D54EA21", "Managed node groups per cluster", 30, true, false},
	{"eks", "L-BD136A63", "Nodes per managed node group", 450, true, false},
	{"iam", "L-858F3967", "OpenId connect providers per account", 100, true, true},
	{"iam", "L-FE177D64", "Roles per account", 1000, true, false},
	{"iam", "L-C07B4B0D", "Role trust policy length", 2048, true, false},
	{"iam", "L-0DA4ABF3", "Managed policies per role", 10, true, false},
}

var quotaOperations = map[string]operation{
	"GetServiceQuota":             reads((*Cloud).getServiceQuota, "ServiceCode", "QuotaCode"),
	"GetAWSDefaultServiceQuota":   reads((*Cloud).getDefaultQuota, "ServiceCode", "QuotaCode"),
	"ListServiceQuotas":           reads((*Cloud).listServiceQuotas, "ServiceCode"),
	"ListAWSDefaultServiceQuotas": reads((*Cloud).listDefaultQuotas, "ServiceCode"),
}

// quota is the value in force.
func (c *Cloud) quota(code string) int {
	if v, ok := c.opt.Quotas[code]; ok {
		return int(v)
	}
	for _, q := range quotaTable {
		if q.code == code {
			return int(q.value)
		}
	}
	return 0
}

func (c *Cloud) quotaDoc(q quotaRow, value float64) map[string]any {
	return map[string]any{"ServiceCode": q.service, "ServiceName": q.service, "QuotaCode": q.code, "QuotaName": q.name, "Value": value, "Unit": "None",
		"Adjustable": q.adjustable, "GlobalQuota": q.service == "iam", "QuotaArn": c.arn("servicequotas", q.service+"/"+q.code)}
}

func (c *Cloud) findQuota(req *request) (quotaRow, error) {
	service, code := text(req.body, "ServiceCode"), text(req.body, "QuotaCode")
	for _, q := range quotaTable {
		if q.service == service && q.code == code {
			return q, nil
		}
	}
	return quotaRow{}, fail("NoSuchResourceException", "The request failed because the specified quota %s of %s does not exist.", code, service)
}

func (c *Cloud) getServiceQuota(req *request) (any, error) {
	q, err := c.findQuota(req)
	if err != nil {
		return nil, err
	}
	if _, asked := c.opt.Quotas[q.code]; q.unapplied && !asked {
		return nil, fail("NoSuchResourceException", "The request failed because the specified quota %s of %s does not exist.", q.code, q.service)
	}
	return map[string]any{"Quota": c.quotaDoc(q, float64(c.quota(q.code)))}, nil
}

func (c *Cloud) getDefaultQuota(req *request) (any, error) {
	q, err := c.findQuota(req)
	if err != nil {
		return nil, err
	}
	return map[string]any{"Quota": c.quotaDoc(q, q.value)}, nil
}

func (c *Cloud) listServiceQuotas(req *request) (any, error) {
	return c.quotaList(req, func(q quotaRow) float64 { return float64(c.quota(q.code)) })
}

func (c *Cloud) listDefaultQuotas(req *request) (any, error) {
	return c.quotaList(req, func(q quotaRow) float64 { return q.value })
}

func (c *Cloud) quotaList(req *request, value func(quotaRow) float64) (any, error) {
	var rows []any
	for _, q := range quotaTable {
		if q.service == text(req.body, "ServiceCode") {
			rows = append(rows, c.quotaDoc(q, value(q)))
		}
	}
	if rows == nil {
		return nil, fail("NoSuchResourceException", "The request failed because the specified service %s does not exist.", text(req.body, "ServiceCode"))
	}
	return c.jsonPage(req, "Quotas", rows, 100)
}

// digits makes n hexadecimal digits that depend on a string only.
func digits(s string, n int) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])[:n]
}
