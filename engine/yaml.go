package engine

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"pipectl.dev/steps/spec"
)

// maxNodes bounds what aliases may blow a document up to.
const maxNodes = 200_000

// parse reads one YAML document with its aliases and merge keys resolved, so that nothing later meets them.
func parse(file string, source []byte) (*yaml.Node, spec.Problems) {
	var doc yaml.Node
	if err := yaml.Unmarshal(source, &doc); err != nil {
		return nil, spec.Problems{syntax(file, string(source), err)}
	}
	if doc.Kind == 0 || len(doc.Content) == 0 {
		return nil, spec.Problems{{File: file, Line: 1, Col: 1, Message: "the file is empty"}}
	}
	r := resolver{file: file, open: map[*yaml.Node]bool{}}
	root := r.node(doc.Content[0])
	return root, r.problems
}

type resolver struct {
	file     string
	open     map[*yaml.Node]bool // aliases being followed
	count    int
	problems spec.Problems
}

func (r *resolver) add(n *yaml.Node, message, hint string) {
	r.problems = append(r.problems, spec.Problem{File: r.file, Line: n.Line, Col: n.Column, Message: message, Hint: hint})
}

func (r *resolver) node(n *yaml.Node) *yaml.Node {
	if r.count++; r.count > maxNodes {
		if r.count == maxNodes+1 {
			r.add(n, "aliases make the document too large", "")
		}
		return null(n)
	}
	if n.Kind == yaml.AliasNode {
		if r.open[n.Alias] {
			r.add(n, fmt.Sprintf("alias *%s contains itself", n.Value), "")
			return null(n)
		}
		r.open[n.Alias] = true
		defer delete(r.open, n.Alias)
		c := *r.node(n.Alias)
		c.Line, c.Column = n.Line, n.Column
		return &c
	}
	if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
		r.add(n, fmt.Sprintf("unknown YAML tag %q", n.Tag), "quote the whole value: an unquoted `!` starts a YAML tag")
		return null(n)
	}
	c := *n
	c.Anchor = ""
	c.Content = make([]*yaml.Node, 0, len(n.Content))
	if n.Anchor != "" {
		r.open[n] = true
		defer delete(r.open, n)
	}
	for i, x := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 && x.Tag == "!!merge" {
			continue
		}
		if n.Kind == yaml.MappingNode && i%2 == 1 && n.Content[i-1].Tag == "!!merge" {
			r.merge(&c, n, x)
			continue
		}
		c.Content = append(c.Content, r.node(x))
	}
	return &c
}

// merge adds the keys of `<<` that the mapping does not set itself.
func (r *resolver) merge(into, own, from *yaml.Node) {
	m := r.node(from)
	if m.Kind != yaml.MappingNode {
		r.add(from, "expected a mapping to merge", "")
		return
	}
	set := map[string]bool{}
	for i := 0; i+1 < len(own.Content); i += 2 {
		set[own.Content[i].Value] = true
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if !set[m.Content[i].Value] {
			into.Content = append(into.Content, m.Content[i], m.Content[i+1])
		}
	}
}

func null(at *yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null", Line: at.Line, Column: at.Column}
}

var lineOf = regexp.MustCompile(`^(?:yaml: )?line (\d+): `)

// syntax turns a parser's error into a problem. Most come from expressions that YAML reads as its own syntax, so those get a hint.
func syntax(file, source string, err error) spec.Problem {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	p := spec.Problem{File: file, Line: 1, Col: 1, Message: lineOf.ReplaceAllString(text, "")}
	if m := lineOf.FindStringSubmatch(err.Error()); m != nil {
		p.Line, _ = strconv.Atoi(m[1])
	}
	lines := strings.Split(source, "\n")
	for _, n := range []int{p.Line, p.Line - 1, p.Line + 1} {
		if n < 1 || n > len(lines) {
			continue
		}
		if col, hint := trap(lines[n-1]); hint != "" {
			p.Line, p.Col, p.Hint = n, col, hint
			return p
		}
	}
	if p.Line >= 1 && p.Line <= len(lines) {
		line := lines[p.Line-1]
		p.Col = 1 + len(line) - len(strings.TrimLeft(line, " "))
	}
	return p
}

// trap finds an unquoted expression in a line that YAML cannot read, and says what happened; the column counts from 1.
func trap(line string) (int, string) {
	at := strings.Index(line, "${{")
	if at < 0 {
		if at = strings.Index(line, "when: "); at < 0 || !strings.Contains(line[at+6:], ": ") {
			return 0, ""
		}
		return at + 7, "quote the whole expression: unquoted `: ` is YAML's own syntax"
	}
	if at > 0 && (line[at-1] == '"' || line[at-1] == '\'') {
		return 0, ""
	}
	col := utf8.RuneCountInString(line[:at]) + 1
	if strings.ContainsAny(line[:at], "{[") {
		return col, "quote the value, as in {zone: \"${{ params.zone }}\"}: inside { } and [ ] an unquoted `${{` is YAML's own syntax"
	}
	if strings.Contains(line[at:], ": ") {
		return col, "quote the whole value, as in \"${{ a ? b : c }}\": unquoted `: ` is YAML's own syntax"
	}
	return col, "quote the whole value, as in \"${{ ... }}\""
}

// lenient decodes what can be decoded of a document that has problems, so that the rest of it is looked at too.
func lenient(root *yaml.Node, into any) {
	_ = unique(root).Decode(into) // its problems are reported already, with columns
}

// unique copies a tree without keys that stand twice: yaml.v3 gives up on those.
func unique(n *yaml.Node) *yaml.Node {
	c := *n
	c.Content = nil
	seen := map[string]bool{}
	for i, x := range n.Content {
		if n.Kind == yaml.MappingNode {
			key := n.Content[i-i%2].Value
			if i%2 == 0 && seen[key] || i%2 == 1 && seen["\x00"+key] {
				continue
			}
			seen[strings.Repeat("\x00", i%2)+key] = true
		}
		c.Content = append(c.Content, unique(x))
	}
	return &c
}

// place finds where the offset-th byte of an expression stands in the source, given where its scalar starts and that it is the nth
// expression of it. Folding and quoting change white space and quotes only, so the two texts are walked side by side.
func place(source string, at *yaml.Node, nth int, text string, offset int) (line, col int) {
	pos := byteOffset(source, at.Line, at.Column)
	for ; nth >= 0; nth-- {
		next := strings.Index(source[pos:], "${{")
		if next < 0 {
			return at.Line, at.Column
		}
		pos += next + 3
	}
	if pos < len(source) && (source[pos] == '|' || source[pos] == '>') { // a block: the text begins on the next line
		pos += max(strings.IndexByte(source[pos:], '\n'), 0)
	}
	pos += len(source[pos:]) - len(strings.TrimLeft(source[pos:], " \t\r\n"))
	if pos < len(source) && text != "" && source[pos] != text[0] && (source[pos] == '"' || source[pos] == '\'') {
		pos++
	}
	if text == "" || pos >= len(source) || source[pos] != text[0] {
		return at.Line, at.Column // an alias: the text stands elsewhere
	}
	return walk(source, pos, text, offset)
}

func walk(source string, pos int, text string, offset int) (line, col int) {
	for i := 0; i < offset && i < len(text) && pos < len(source); i++ {
		switch {
		case space(text[i]):
			for pos < len(source) && space(source[pos]) {
				pos++
			}
			for i+1 < offset && i+1 < len(text) && space(text[i+1]) {
				i++
			}
			continue
		case source[pos] == '\\' && text[i] != '\\':
			pos++
		case source[pos] == '\'' && strings.HasPrefix(source[pos:], "''") && !strings.HasPrefix(text[i:], "''"):
			pos++
		}
		pos++
	}
	pos = min(pos, len(source))
	start := strings.LastIndexByte(source[:pos], '\n') + 1
	return 1 + strings.Count(source[:pos], "\n"), 1 + utf8.RuneCountInString(source[start:pos])
}

func space(b byte) bool { return b == ' ' || b == '\t' || b == '\n' || b == '\r' }

// byteOffset turns a line and a column, which yaml counts in characters, into an offset.
func byteOffset(source string, line, col int) int {
	pos := 0
	for ; line > 1; line-- {
		next := strings.IndexByte(source[pos:], '\n')
		if next < 0 {
			return len(source)
		}
		pos += next + 1
	}
	for ; col > 1 && pos < len(source); col-- {
		_, size := utf8.DecodeRuneInString(source[pos:])
		pos += size
	}
	return pos
}
