package kube

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/url"
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"pipectl.dev/steps"
)

// Codes of errors that other packages tell apart.
const (
	CodeClusterNotFound    = "ClusterNotFound"
	CodeClusterUnreachable = "ClusterUnreachable"
	CodeForbidden          = "Forbidden"
	CodeFieldConflict      = "FieldConflict"
	CodeConflict           = "Conflict"
	CodeKindNotServed      = "KindNotServed"
	CodeNotFound           = "NotFound"
)

// HasCode reports whether err is, or wraps, a steps.Error with this code.
func HasCode(err error, code string) bool {
	var e *steps.Error
	return errors.As(err, &e) && e.Code == code
}

// IsNotFound reports whether the object asked for does not exist, by our own code or the API's.
func IsNotFound(err error) bool { return HasCode(err, CodeNotFound) || apierrors.IsNotFound(err) }

// Explain gives an error of an API call the kind and the hint that people need. Errors that have a kind already, and the end of a
// context, pass unchanged.
func Explain(err error) error {
	var known *steps.Error
	if err == nil || errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	e := &steps.Error{Err: err}
	switch {
	case apierrors.IsForbidden(err):
		e.Code, e.Category = CodeForbidden, steps.Permission
		e.Hints = []string{forbidden(err)}
	case apierrors.IsUnauthorized(err):
		e.Code, e.Category = "Unauthorized", steps.Credentials
		e.Hints = []string{"the API server does not accept our credentials: check the kubeconfig, or the cluster's access entries"}
	case apierrors.IsNotFound(err):
		e.Code, e.Category = CodeNotFound, steps.Precondition
	case fieldConflict(err):
		e.Code, e.Category = CodeFieldConflict, steps.Conflict
		owned := ownedFields(err)
		e.Err, e.Hints = &conflictError{owned, err}, conflictHints(owned)
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		e.Code, e.Category, e.Retryable = CodeConflict, steps.Conflict, true
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsMethodNotSupported(err), apierrors.IsRequestEntityTooLargeError(err):
		e.Code, e.Category = "Rejected", steps.BadInput
	case meta.IsNoMatchError(err):
		e.Code, e.Category = CodeKindNotServed, steps.Precondition
		e.Hints = []string{"the cluster does not serve this kind: is its CustomResourceDefinition installed?"}
	case untyped(err):
		e.Code, e.Category = "Rejected", steps.BadInput
		e.Hints = []string{"the manifest has a value of another type than its kind's schema: quote texts that YAML reads as numbers or booleans (y, n, on, off)"}
	case passing(err):
		return unreachable(err)
	default:
		return err
	}
	return e
}

// unreachable says that a cluster does not answer. Running the command again is all one can do, unless its certificate is wrong.
func unreachable(err error) error {
	if apierrors.IsUnauthorized(err) {
		return Explain(err)
	}
	var known *steps.Error
	if errors.As(err, &known) {
		return err
	}
	e := &steps.Error{Code: CodeClusterUnreachable, Category: steps.Transient, Retryable: true, Message: "does not answer", Err: err,
		Hints: []string{"is the API server reachable from here (VPN, endpoint access, proxy)?"}}
	if certificate(err) {
		e.Retryable = false
		e.Hints = []string{"the certificate does not fit: was the cluster made anew since the kubeconfig was written?"}
	}
	return e
}

func certificate(err error) bool {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verify *tls.CertificateVerificationError
	return errors.As(err, &unknown) || errors.As(err, &host) || errors.As(err, &invalid) || errors.As(err, &verify)
}

func hasStatus(err error, code int32) bool {
	var s apierrors.APIStatus
	return errors.As(err, &s) && s.Status().Code == code
}

// untyped reports a manifest that does not fit its kind's schema. The API server calls that an internal error of its own.
func untyped(err error) bool {
	return apierrors.IsInternalError(err) && strings.Contains(err.Error(), "failed to create typed patch object")
}

// passing reports errors that another try may not meet.
func passing(err error) bool {
	var netErr net.Error
	var urlErr *url.Error
	return apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err) || apierrors.IsUnexpectedServerError(err) ||
		utilnet.IsConnectionRefused(err) || utilnet.IsConnectionReset(err) || utilnet.IsHTTP2ConnectionLost(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &netErr) || errors.As(err, &urlErr)
}

var cannot = regexp.MustCompile(`cannot (\w+) resource "([^"]+)"(?: in API group "([^"]*)")?(?: in the namespace "([^"]+)")?`)

// forbidden turns the API server's sentence into what a role must allow.
func forbidden(err error) string {
	m := cannot.FindStringSubmatch(err.Error())
	if m == nil {
		return "ask for the permission that the message names"
	}
	resource := m[2]
	if m[3] != "" {
		resource += "." + m[3]
	}
	where := "cluster-wide"
	if m[4] != "" {
		where = "in namespace " + m[4]
	}
	return "a role must allow verb " + m[1] + " on " + resource + " " + where
}
