package aws

import (
	"time"
)

// fillCluster makes the parts of the description that do not change by themselves.
func (c *Cloud) fillCluster(cl *cluster, v *kubernetesVersion, b map[string]any) {
	net := object(b, "resourcesVpcConfig")
	vpcConfig := map[string]any{"subnetIds": cl.subnets, "securityGroupIds": append([]string{}, textList(net, "securityGroupIds")...), "vpcId": cl.vpc,
		"endpointPublicAccess": true, "endpointPrivateAccess": false, "publicAccessCidrs": []string{"0.0.0.0/0"}}
	setEndpoint(vpcConfig, net)
	service := text(object(b, "kubernetesNetworkConfig"), "serviceIpv4Cidr")
	if service == "" {
		service = "172.20.0.0/16"
	}
	access := object(b, "accessConfig")
	if m := text(access, "authenticationMode"); m != "" {
		cl.mode = m
	}
	bootstrap := true
	if given, ok := access["bootstrapClusterCreatorAdminPermissions"].(bool); ok {
		bootstrap = given
	}
	if !bootstrap {
		cl.creator = ""
	}
	support := "EXTENDED"
	if s := text(object(b, "upgradePolicy"), "supportType"); s != "" {
		support = s
	}
	cl.doc = map[string]any{"roleArn": text(b, "roleArn"), "createdAt": epoch(time.Now()), "platformVersion": v.platform, "resourcesVpcConfig": vpcConfig,
		"kubernetesNetworkConfig": map[string]any{"serviceIpv4Cidr": service, "ipFamily": "ipv4"}, "upgradePolicy": map[string]any{"supportType": support},
		"accessConfig": map[string]any{"authenticationMode": cl.mode, "bootstrapClusterCreatorAdminPermissions": bootstrap},
		"health":       map[string]any{"issues": []any{}}, "encryptionConfig": b["encryptionConfig"], "clientRequestToken": text(b, "clientRequestToken"),
		"logging": loggingOf(object(b, "logging")), "deletionProtection": cl.protected}
}

func setEndpoint(config, from map[string]any) {
	for _, k := range []string{"endpointPublicAccess", "endpointPrivateAccess"} {
		if v, ok := from[k].(bool); ok {
			config[k] = v
		}
	}
	if cidrs := textList(from, "publicAccessCidrs"); len(cidrs) > 0 {
		config["publicAccessCidrs"] = cidrs
	}
}

var logTypes = []string{"api", "audit", "authenticator", "controllerManager", "scheduler"}

func loggingOf(asked map[string]any) map[string]any {
	var on, off []string
	enabled := map[string]bool{}
	setups, _ := asked["clusterLogging"].([]any)
	for _, s := range setups {
		m, _ := s.(map[string]any)
		for _, t := range textList(m, "types") {
			enabled[t] = flag(m, "enabled")
		}
	}
	for _, t := range logTypes {
		if enabled[t] {
			on = append(on, t)
		} else {
			off = append(off, t)
		}
	}
	var out []any
	if on != nil {
		out = append(out, map[string]any{"types": on, "enabled": true})
	}
	if off != nil {
		out = append(out, map[string]any{"types": off, "enabled": false})
	}
	return map[string]any{"clusterLogging": out}
}

func (c *Cloud) clusterDoc(cl *cluster) map[string]any {
	out := map[string]any{}
	for k, v := range cl.doc {
		if v != nil {
			out[k] = v
		}
	}
	net := map[string]any{}
	for k, v := range object(cl.doc, "resourcesVpcConfig") {
		net[k] = v
	}
	net["clusterSecurityGroupId"] = cl.group
	out["resourcesVpcConfig"] = net
	out["name"], out["arn"], out["version"], out["status"], out["tags"] = cl.name, cl.arn, cl.version, cl.status, cl.tags
	return out
}
