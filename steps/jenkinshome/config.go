package jenkinshome

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// configLimit bounds what of a config file is read: one with thousands of views is a few MiB.
const configLimit = 64 << 20

// tied are the elements of config.xml by which a Jenkins knows the place it runs at, and what to do about each after a move.
var tied = map[string]string{
	"serverUrl":     "API server of a Kubernetes cloud; empty means the cluster that Jenkins runs in",
	"jenkinsUrl":    "URL by which agents reach Jenkins",
	"jenkinsTunnel": "address by which agents reach Jenkins",
}

// oldAddresses reads from a home what ties it to the place it runs at. Nothing of it stops a move: it is told, so that it can be changed in
// time. A file that cannot be read is told too.
func oldAddresses(home string) []string {
	var out []string
	for _, name := range []string{"config.xml", "jenkins.model.JenkinsLocationConfiguration.xml"} {
		found, err := addressesIn(filepath.Join(home, name))
		switch {
		case errors.Is(err, os.ErrNotExist):
		case err != nil:
			out = append(out, name+": could not be looked through for addresses of the old place: "+err.Error())
		}
		for _, f := range found {
			out = append(out, name+": "+f)
		}
	}
	return out
}

func addressesIn(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only
	raw, err := io.ReadAll(io.LimitReader(f, configLimit))
	if err != nil {
		return nil, err
	}
	// Jenkins writes XML 1.1, which differs from 1.0 in characters that no config needs, and which the decoder refuses.
	for _, quote := range []string{"'", `"`} {
		raw = bytes.Replace(raw, []byte("version="+quote+"1.1"+quote), []byte("version="+quote+"1.0"+quote), 1)
	}
	var out []string
	d := xml.NewDecoder(bytes.NewReader(raw))
	d.Strict = false
	element := ""
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, fmt.Errorf("line %d: not XML", line(d)) // its own text may quote the file
		}
		switch t := t.(type) {
		case xml.StartElement:
			element = t.Name.Local
		case xml.EndElement:
			element = ""
		case xml.CharData:
			if say := tie(element, strings.TrimSpace(string(t))); say != "" && !slices.Contains(out, say) {
				out = append(out, say)
			}
		}
	}
}

func line(d *xml.Decoder) int { n, _ := d.InputPos(); return n }

// tie is what to say of an element, "" for nothing. Credentials in a URL are not repeated.
func tie(element, text string) string {
	if text == "" {
		return ""
	}
	if strings.HasSuffix(text, "/docker.sock") {
		return "a pod template mounts " + text + ": nodes of EKS run containerd and have none; build images another way"
	}
	what, ok := tied[element]
	if !ok {
		return ""
	}
	if u, err := url.Parse(text); err == nil && u.Host != "" {
		text = u.Redacted()
	}
	return fmt.Sprintf("%s is %s (%s): see that it is right at the new place", element, text, what)
}
