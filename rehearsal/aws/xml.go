package aws

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strconv"
	"time"
)

// node is an XML element; the query protocols need no more than names, text and order.
type node struct {
	name, text string
	kids       []node
}

// el is a leaf element.
func el(name string, v any) node {
	switch v := v.(type) {
	case string:
		return node{name: name, text: v}
	case bool:
		return node{name: name, text: strconv.FormatBool(v)}
	case int:
		return node{name: name, text: strconv.Itoa(v)}
	case time.Time:
		return node{name: name, text: v.UTC().Format("2006-01-02T15:04:05.000Z")}
	}
	return node{name: name, text: fmt.Sprint(v)}
}

// opt is a leaf that is left out when empty.
func opt(name, v string) node {
	if v == "" {
		return node{}
	}
	return el(name, v)
}

// group is an element with children; nameless children are left out.
func group(name string, kids ...node) node { return node{name: name, kids: kids} }

// items is an EC2 list, members one of IAM and STS.
func items(name string, list ...node) node   { return wrapped(name, "item", list) }
func members(name string, list ...node) node { return wrapped(name, "member", list) }

func wrapped(name, each string, list []node) node {
	out := node{name: name}
	for _, n := range list {
		out.kids = append(out.kids, node{name: each, text: n.text, kids: n.kids})
	}
	return out
}

func texts(values []string) []node {
	out := make([]node, len(values))
	for i, v := range values {
		out[i].text = v
	}
	return out
}

func document(root node, ns string) []byte {
	var b bytes.Buffer
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n")
	root.write(&b, ns)
	return b.Bytes()
}

func (n node) write(b *bytes.Buffer, ns string) {
	if n.name == "" {
		return
	}
	b.WriteString("<" + n.name)
	if ns != "" {
		b.WriteString(` xmlns="` + ns + `"`)
	}
	b.WriteString(">")
	_ = xml.EscapeText(b, []byte(n.text)) // a bytes.Buffer does not fail
	for _, k := range n.kids {
		k.write(b, "")
	}
	b.WriteString("</" + n.name + ">")
}
