package aws

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// apiError is an error of the emulated service in its own words.
type apiError struct {
	code    string
	message string
	status  int            // 0: 400
	fields  map[string]any // further members of a JSON error
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

func fail(code, format string, args ...any) error {
	return &apiError{code: code, message: fmt.Sprintf(format, args...)}
}

func failStatus(status int, code, format string, args ...any) error {
	return &apiError{code: code, status: status, message: fmt.Sprintf(format, args...)}
}

// response is an answer before it is put on a wire. drop closes the connection instead.
type response struct {
	status int
	header http.Header
	body   []byte
	drop   bool
}

// protocol of a service: how it is parsed and rendered.
type protocol int

const (
	ec2Query protocol = iota
	awsQuery
	restJSON
	json11
	restXML
)

var protocols = map[string]protocol{
	"ec2": ec2Query, "iam": awsQuery, "sts": awsQuery, "eks": restJSON, "eks-auth": restJSON, "ssm": json11, "servicequotas": json11, "logs": json11, "kms": json11, "elb": awsQuery, "elbv2": awsQuery, "s3": restXML,
}

var xmlns = map[string]string{
	"ec2": "http://ec2.amazonaws.com/doc/2016-11-15/",
	"iam": "https://iam.amazonaws.com/doc/2010-05-08/",
	"sts": "https://sts.amazonaws.com/doc/2011-06-15/",
	"elb": "http://elasticloadbalancing.amazonaws.com/doc/2012-06-01/", "elbv2": "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/",
}

// renderError puts an error into the service's protocol.
func renderError(r *request, e *apiError) *response {
	status := e.status
	if status == 0 {
		status = http.StatusBadRequest
	}
	out := &response{status: status, header: http.Header{}}
	out.header.Set("X-Amzn-Requestid", r.id)
	switch protocols[r.service] {
	case ec2Query:
		out.header.Set("Content-Type", "text/xml;charset=UTF-8")
		out.body = document(group("Response",
			group("Errors", group("Error", el("Code", e.code), el("Message", e.message))), el("RequestID", r.id)), "")
	case awsQuery:
		kind := "Sender"
		if status >= 500 {
			kind = "Receiver"
		}
		out.header.Set("Content-Type", "text/xml")
		out.body = document(group("ErrorResponse",
			group("Error", el("Type", kind), el("Code", e.code), el("Message", e.message)), el("RequestId", r.id)), xmlns[r.service])
	case restXML:
		renderS3Error(out, r, e)
	default:
		m := map[string]any{"message": e.message, "__type": e.code}
		for k, v := range e.fields {
			m[k] = v
		}
		out.header.Set("Content-Type", contentType(r.service))
		out.header.Set("X-Amzn-Errortype", e.code)
		out.body, _ = json.Marshal(m)
	}
	return out
}

// renderResult puts a handler's result into the service's protocol: []node for XML, anything else for JSON.
func renderResult(r *request, result any) (*response, error) {
	out := &response{status: http.StatusOK, header: http.Header{}}
	out.header.Set("X-Amzn-Requestid", r.id)
	kids, _ := result.([]node)
	switch protocols[r.service] {
	case ec2Query:
		out.header.Set("Content-Type", "text/xml;charset=UTF-8")
		out.body = document(group(r.action+"Response", append([]node{el("requestId", r.id)}, kids...)...), xmlns["ec2"])
	case awsQuery:
		out.header.Set("Content-Type", "text/xml")
		out.body = document(group(r.action+"Response", group(r.action+"Result", kids...),
			group("ResponseMetadata", el("RequestId", r.id))), xmlns[r.service])
	case restXML:
		renderS3(out, result)
	default:
		out.header.Set("Content-Type", contentType(r.service))
		if result == nil {
			result = map[string]any{}
		}
		b, err := json.Marshal(result)
		if err != nil {
			return nil, fmt.Errorf("render %s:%s: %w", r.service, r.action, err)
		}
		out.body = b
	}
	return out, nil
}

func contentType(service string) string {
	if protocols[service] == json11 {
		return "application/x-amz-json-1.1"
	}
	return "application/json"
}

// messageOf is the message of an error without its code.
func messageOf(err error) string {
	var e *apiError
	if errors.As(err, &e) {
		return e.message
	}
	return err.Error()
}
