package aws

import (
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// extra answers pipectl's own endpoints: what AWS does inside a cluster, and the clusters of a rehearsal cannot do themselves.
func (c *Cloud) extra(r *http.Request, raw []byte) *response {
	switch r.URL.Path {
	case "/_pipectl/tokenreview":
		return c.tokenReview(r, raw)
	case "/_pipectl/csi":
		return c.csi(raw)
	}
	return jsonAnswer(http.StatusNotFound, map[string]any{"error": "no such endpoint: " + r.URL.Path})
}

func jsonAnswer(status int, v any) *response {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":"render"}`)
	}
	return &response{status: status, header: http.Header{"Content-Type": {"application/json"}}, body: b}
}

// tokenReview is the webhook authenticator of an EKS cluster.
func (c *Cloud) tokenReview(r *http.Request, raw []byte) *response {
	var in struct {
		APIVersion string `json:"apiVersion"`
		Spec       struct {
			Token string `json:"token"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return jsonAnswer(http.StatusBadRequest, map[string]any{"error": "token review: " + err.Error()})
	}
	status := map[string]any{"authenticated": false}
	user, groups, err := c.reviewToken(r.URL.Query().Get("cluster"), in.Spec.Token)
	if err != nil {
		status["error"] = err.Error()
	} else {
		status = map[string]any{"authenticated": true, "user": map[string]any{"username": user, "groups": groups}}
	}
	if in.APIVersion == "" {
		in.APIVersion = "authentication.k8s.io/v1"
	}
	return jsonAnswer(http.StatusOK, map[string]any{"apiVersion": in.APIVersion, "kind": "TokenReview", "status": status})
}

// reviewToken verifies a presigned GetCallerIdentity and maps its principal to a user of the cluster.
func (c *Cloud) reviewToken(clusterName, token string) (string, []string, error) {
	encoded, ok := strings.CutPrefix(token, "k8s-aws-v1.")
	if !ok {
		return "", nil, fmt.Errorf("token: no k8s-aws-v1. prefix")
	}
	plain, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(encoded, "="))
	if err != nil {
		return "", nil, fmt.Errorf("token: %w", err)
	}
	u, err := url.Parse(string(plain))
	if err != nil {
		return "", nil, fmt.Errorf("token: %w", err)
	}
	if u.Query().Get("Action") != "GetCallerIdentity" {
		return "", nil, fmt.Errorf("token: presigns %q, not GetCallerIdentity", u.Query().Get("Action"))
	}
	req := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{"X-K8s-Aws-Id": {clusterName}}}
	sig, err := readSignature(req)
	if err != nil {
		return "", nil, err
	}
	if sig == nil || !sig.presigned || !slices.Contains(sig.signed, "x-k8s-aws-id") {
		return "", nil, fmt.Errorf("token: the cluster's name is not signed")
	}
	key, err := c.authenticate(sig, req, nil, "sts", 15*time.Minute)
	if err != nil {
		return "", nil, err
	}
	return c.userOf(clusterName, key.Principal)
}

// userOf looks a principal up in the access entries.
func (c *Cloud) userOf(clusterName, principal string) (string, []string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cl := c.eks[clusterName]
	if cl == nil {
		return "", nil, fmt.Errorf("no cluster %q", clusterName)
	}
	who := c.identity(principal)
	if cl.mode != "API" && cl.creator == principal {
		return "kubernetes-admin", []string{"system:masters", "system:authenticated"}, nil
	}
	e := cl.entries[who]
	if e == nil || cl.mode == "CONFIG_MAP" {
		return "", nil, fmt.Errorf("no access entry for %s", who)
	}
	name := principal[strings.LastIndex(principal, "/")+1:]
	user := strings.NewReplacer("{{SessionName}}", name).Replace(e.username)
	groups := append([]string{"system:authenticated"}, e.groups...)
	if scope := e.policies[c.accessPolicy(clusterAdminPolicy)]; scope != nil && text(scope, "type") == "cluster" {
		groups = append(groups, "system:masters")
	}
	return user, groups, nil
}

type csiRequest struct {
	Cluster  string `json:"cluster"`
	Action   string `json:"action"`
	VolumeID string `json:"volumeID"`
	NodeID   string `json:"nodeID"`
	RoleARN  string `json:"roleArn"`
	Token    string `json:"token"`
}

// csi is what the EBS driver's controller does: assume its role with its token, then attach or detach and wait.
func (c *Cloud) csi(raw []byte) *response {
	var in csiRequest
	if err := json.Unmarshal(raw, &in); err != nil {
		return jsonAnswer(http.StatusBadRequest, map[string]any{"error": "csi: " + err.Error()})
	}
	principal, refused := c.csiPrincipal(in)
	if refused != nil {
		return refused
	}
	form := url.Values{"VolumeId": {in.VolumeID}, "InstanceId": {in.NodeID}}
	req := c.internal("ec2", "", principal, form)
	switch in.Action {
	case "attach":
		req.action = "AttachVolume"
		form.Set("Device", c.freeDevice(in.NodeID))
		if device, ok := c.attachedTo(in.VolumeID, in.NodeID); ok {
			return jsonAnswer(http.StatusOK, map[string]any{"device": device})
		}
	case "detach":
		req.action = "DetachVolume"
		if _, ok := c.attachedTo(in.VolumeID, in.NodeID); !ok {
			return jsonAnswer(http.StatusOK, map[string]any{})
		}
	default:
		return jsonAnswer(http.StatusBadRequest, map[string]any{"error": "csi: action " + in.Action + ": want attach or detach"})
	}
	if out := c.execute(req); out.status != http.StatusOK {
		return jsonAnswer(clientStatus(out.status), map[string]any{"error": "ec2:" + req.action + ": " + errorText(out)})
	}
	c.settle(in.VolumeID)
	device, _ := c.attachedTo(in.VolumeID, in.NodeID)
	return jsonAnswer(http.StatusOK, map[string]any{"device": device})
}

// csiPrincipal assumes the driver's role; without a role the driver falls back to the node's own.
func (c *Cloud) csiPrincipal(in csiRequest) (string, *response) {
	if in.RoleARN == "" {
		c.mu.Lock()
		defer c.mu.Unlock()
		i, ok := c.ec2.instances.find(in.NodeID)
		if !ok || i.role == "" {
			return "", jsonAnswer(http.StatusForbidden, map[string]any{"error": "csi: no role: neither the service account nor the node has one"})
		}
		return c.inPartition("sts") + ":" + c.opt.Account + ":assumed-role/" + i.role[strings.LastIndex(i.role, "/")+1:] + "/" + i.id, nil
	}
	req := c.internal("sts", "AssumeRoleWithWebIdentity", "", url.Values{"RoleArn": {in.RoleARN}, "RoleSessionName": {"ebs-csi"}, "WebIdentityToken": {in.Token}})
	if out := c.execute(req); out.status != http.StatusOK || out.drop {
		return "", jsonAnswer(clientStatus(out.status), map[string]any{"error": "sts:AssumeRoleWithWebIdentity: " + errorText(out)})
	}
	return req.principal, nil
}

// internal is a request that the emulator makes on behalf of a principal.
func (c *Cloud) internal(service, action, principal string, form url.Values) *request {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	return &request{n: c.seq, id: c.uuid(), service: service, action: action, principal: principal, form: form, vars: map[string]string{}}
}

func clientStatus(status int) int {
	if status < 400 {
		return http.StatusServiceUnavailable
	}
	return status
}

// errorText takes code and message out of a rendered error.
func errorText(r *response) string {
	if r.drop {
		return "connection reset"
	}
	var e struct {
		EC2 struct{ Code, Message string } `xml:"Errors>Error"`
		IAM struct{ Code, Message string } `xml:"Error"`
	}
	if xml.Unmarshal(r.body, &e) != nil {
		return string(r.body)
	}
	return e.EC2.Code + e.IAM.Code + ": " + e.EC2.Message + e.IAM.Message
}

func (c *Cloud) attachedTo(volumeID, instanceID string) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.ec2.volumes.find(volumeID)
	if !ok || v.attachment == nil || v.attachment.instance != instanceID || v.attachment.state == "detaching" {
		return "", false
	}
	return v.attachment.device, true
}

// freeDevice is the first device name that nothing on the instance uses.
func (c *Cloud) freeDevice(instanceID string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := 'a'; n <= 'z'; n++ {
		name := "/dev/xvda" + string(n)
		if !slices.ContainsFunc(c.ec2.volumes.rows, func(v *volume) bool {
			return v.attachment != nil && v.attachment.instance == instanceID && v.attachment.device == name
		}) {
			return name
		}
	}
	return "/dev/xvdba"
}

// settle waits until a volume is neither attaching nor detaching.
func (c *Cloud) settle(volumeID string) {
	c.mu.Lock()
	v, ok := c.ec2.volumes.find(volumeID)
	var settled chan struct{}
	if ok && v.attachment != nil {
		settled = v.attachment.done
	}
	c.mu.Unlock()
	if settled == nil {
		return
	}
	select {
	case <-settled:
	case <-c.ctx.Done():
	}
}
