package aws

import (
	"net/http"
	"net/url"
	"strings"
)

// eksRoutes maps method and path to actions; {name} is a variable.
var eksRoutes = [][2]string{
	{"POST /clusters", "CreateCluster"}, {"GET /clusters", "ListClusters"}, {"GET /cluster-versions", "DescribeClusterVersions"},
	{"GET /clusters/{name}", "DescribeCluster"}, {"DELETE /clusters/{name}", "DeleteCluster"},
	{"POST /clusters/{name}/update-config", "UpdateClusterConfig"}, {"POST /clusters/{name}/updates", "UpdateClusterVersion"},
	{"POST /clusters/{name}/encryption-config/associate", "AssociateEncryptionConfig"},
	{"GET /clusters/{name}/updates", "ListUpdates"}, {"GET /clusters/{name}/updates/{updateId}", "DescribeUpdate"},
	{"POST /clusters/{name}/node-groups", "CreateNodegroup"}, {"GET /clusters/{name}/node-groups", "ListNodegroups"},
	{"GET /clusters/{name}/node-groups/{nodegroupName}", "DescribeNodegroup"}, {"DELETE /clusters/{name}/node-groups/{nodegroupName}", "DeleteNodegroup"},
	{"POST /clusters/{name}/node-groups/{nodegroupName}/update-config", "UpdateNodegroupConfig"},
	{"POST /clusters/{name}/node-groups/{nodegroupName}/update-version", "UpdateNodegroupVersion"},
	{"POST /clusters/{name}/addons", "CreateAddon"}, {"GET /clusters/{name}/addons", "ListAddons"},
	{"GET /clusters/{name}/addons/{addonName}", "DescribeAddon"}, {"DELETE /clusters/{name}/addons/{addonName}", "DeleteAddon"},
	{"POST /clusters/{name}/addons/{addonName}/update", "UpdateAddon"},
	{"GET /addons/supported-versions", "DescribeAddonVersions"}, {"GET /addons/configuration-schemas", "DescribeAddonConfiguration"},
	{"POST /clusters/{name}/access-entries", "CreateAccessEntry"}, {"GET /clusters/{name}/access-entries", "ListAccessEntries"},
	{"GET /clusters/{name}/access-entries/{principalArn}", "DescribeAccessEntry"}, {"POST /clusters/{name}/access-entries/{principalArn}", "UpdateAccessEntry"},
	{"DELETE /clusters/{name}/access-entries/{principalArn}", "DeleteAccessEntry"},
	{"POST /clusters/{name}/access-entries/{principalArn}/access-policies", "AssociateAccessPolicy"},
	{"GET /clusters/{name}/access-entries/{principalArn}/access-policies", "ListAssociatedAccessPolicies"},
	{"DELETE /clusters/{name}/access-entries/{principalArn}/access-policies/{policyArn}", "DisassociateAccessPolicy"},
	{"GET /access-policies", "ListAccessPolicies"},
	{"POST /clusters/{name}/pod-identity-associations", "CreatePodIdentityAssociation"}, {"GET /clusters/{name}/pod-identity-associations", "ListPodIdentityAssociations"},
	{"GET /clusters/{name}/pod-identity-associations/{associationId}", "DescribePodIdentityAssociation"},
	{"POST /clusters/{name}/pod-identity-associations/{associationId}", "UpdatePodIdentityAssociation"},
	{"DELETE /clusters/{name}/pod-identity-associations/{associationId}", "DeletePodIdentityAssociation"},
	{"POST /clusters/{name}/assume-role-for-pod-identity", "AssumeRoleForPodIdentity"}, // of EKS Auth
	{"POST /tags/{resourceArn}", "TagResource"}, {"DELETE /tags/{resourceArn}", "UntagResource"}, {"GET /tags/{resourceArn}", "ListTagsForResource"},
}

// routeEKS fills action and path variables; an unknown path stays as "METHOD path" and is refused by that name.
func routeEKS(req *request, r *http.Request) {
	path := r.URL.EscapedPath()
	have := strings.Split(r.Method+" "+strings.TrimSuffix(path, "/"), "/")
	for _, route := range eksRoutes {
		want := strings.Split(route[0], "/")
		if len(want) != len(have) {
			continue
		}
		vars, ok := map[string]string{}, true
		for i, w := range want {
			if strings.HasPrefix(w, "{") {
				v, err := url.PathUnescape(have[i])
				vars[strings.Trim(w, "{}")], ok = v, ok && err == nil
			} else if w != have[i] {
				ok = false
			}
		}
		if ok {
			req.action, req.vars = route[1], vars
			return
		}
	}
	req.action = r.Method + " " + path
}

// eksPage cuts a page of a REST list by query parameters.
func eksPage[T any](c *Cloud, req *request, name string, rows []T) (any, error) {
	size := 100
	if s := req.query.Get("maxResults"); s != "" {
		n := 0
		for _, d := range s {
			n = n*10 + int(d-'0')
		}
		if n < 1 || n > 100 {
			return nil, fail("InvalidParameterException", "maxResults needs to be 100 or less")
		}
		size = n
	}
	if c.opt.PageSize > 0 {
		size = min(size, c.opt.PageSize)
	}
	page, next, err := pageOf(rows, size, req.query.Get("nextToken"))
	if err != nil {
		return nil, fail("InvalidParameterException", "nextToken is invalid")
	}
	out := map[string]any{name: append([]T{}, page...)}
	if next != "" {
		out["nextToken"] = next
	}
	return out, nil
}
