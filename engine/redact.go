package engine

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"pipectl.dev/steps"
)

// minSecret is the length below which a value is not looked for: it would blacken everything.
const minSecret = 4

// Redactor hides secret values, in every spelling they may turn up in, from whatever passes through it. It is safe for concurrent use.
type Redactor struct {
	mu        sync.RWMutex
	spellings map[string]bool
	replacer  *strings.Replacer
}

// NewRedactor returns a Redactor that knows no secret yet.
func NewRedactor() *Redactor {
	return &Redactor{spellings: map[string]bool{}, replacer: strings.NewReplacer()}
}

// Add makes value a secret from now on, and each long enough line of it. Values shorter than 4 bytes are not looked for.
func (r *Redactor) Add(value string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range append(strings.Split(value, "\n"), value) {
		if v = strings.TrimSpace(v); len(v) < minSecret {
			continue
		}
		for _, s := range spellings(v) {
			r.spellings[s] = true
		}
	}
	var pairs []string
	longest := slices.SortedFunc(maps.Keys(r.spellings), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b))
	})
	for _, s := range longest {
		pairs = append(pairs, s, "***")
	}
	r.replacer = strings.NewReplacer(pairs...)
}

// spellings gives the ways in which a value may be written: as it is, in JSON, in URLs, and in base64 wherever in a longer text it
// starts ("user:secret" spells the secret differently than the secret alone).
func spellings(v string) []string {
	out := []string{v, url.QueryEscape(v), url.PathEscape(v)}
	if quoted, err := json.Marshal(v); err == nil {
		out = append(out, string(quoted[1:len(quoted)-1]))
	}
	for lead := range 3 {
		padded := strings.Repeat("x", lead) + v
		skip := (lead*8 + 5) / 6 // characters that also spell what stands before
		keep := len(padded) * 8 / 6
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			if s := enc.EncodeToString([]byte(padded)); keep > skip+minSecret {
				out = append(out, s[skip:keep])
			}
		}
	}
	return out
}

// String returns s without secrets, and without the beginnings of those that were cut off.
func (r *Redactor) String(s string) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.uncut(r.replacer.Replace(s))
}

// ellipsis stands where a text was shortened, by somebody who did not know what of it is secret.
const ellipsis = "..."

// uncut hides what begins a secret and ends at an ellipsis.
func (r *Redactor) uncut(s string) string {
	parts := strings.Split(s, ellipsis)
	for i, part := range parts[:len(parts)-1] {
		if n := r.begun(part); n > 0 {
			parts[i] = part[:len(part)-n] + "***"
		}
	}
	return strings.Join(parts, ellipsis)
}

// begun is how many bytes at the end of s begin a secret; 0 where they are too few to tell.
func (r *Redactor) begun(s string) int {
	most := 0
	for secret := range r.spellings {
		for n := min(len(secret)-1, len(s)); n >= max(minSecret, most+1); n-- {
			if strings.HasSuffix(s, secret[:n]) {
				most = n
			}
		}
	}
	return most
}

// Writer passes on to w what is written to it, without secrets; whole writes only (a log line, a JSON document).
func (r *Redactor) Writer(w io.Writer) io.Writer { return redacting{r, w} }

type redacting struct {
	r *Redactor
	w io.Writer
}

func (x redacting) Write(p []byte) (int, error) {
	if _, err := io.WriteString(x.w, x.r.String(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Handler passes on to h what is logged, without secrets.
func (r *Redactor) Handler(h slog.Handler) slog.Handler { return handler{r, h} }

type handler struct {
	r *Redactor
	slog.Handler
}

func (h handler) Handle(ctx context.Context, rec slog.Record) error {
	clean := slog.NewRecord(rec.Time, rec.Level, h.r.String(rec.Message), rec.PC)
	rec.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(h.attr(a))
		return true
	})
	return h.Handler.Handle(ctx, clean)
}

func (h handler) WithAttrs(as []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(as))
	for i, a := range as {
		clean[i] = h.attr(a)
	}
	return handler{h.r, h.Handler.WithAttrs(clean)}
}

func (h handler) WithGroup(name string) slog.Handler { return handler{h.r, h.Handler.WithGroup(name)} }

func (h handler) attr(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindString:
		return slog.String(a.Key, h.r.String(v.String()))
	case slog.KindGroup:
		var as []any
		for _, x := range v.Group() {
			as = append(as, h.attr(x))
		}
		return slog.Group(a.Key, as...)
	case slog.KindAny:
		text := fmt.Sprintf("%+v", v.Any())
		if clean := h.r.String(text); clean != text {
			return slog.String(a.Key, clean)
		}
	}
	return slog.Attr{Key: a.Key, Value: v}
}

// clean hides secrets in every text of a document, keys too; one without secrets comes back as it was.
func clean[T any](r *Redactor, v T) T {
	raw, err := json.Marshal(v)
	if err != nil || r.String(string(raw)) == string(raw) {
		return v
	}
	var tree any
	var out T
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err = d.Decode(&tree); err == nil {
		raw, err = json.Marshal(r.tree(tree))
	}
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil {
		return *new(T) // rather nothing than the secret
	}
	return out
}

// fieldName is what our own keys look like; hiding one would hide what stands below it from every reader.
var fieldName = regexp.MustCompile(`^[a-z][a-zA-Z]{0,30}$`)

// tree works on decoded text, so that a secret that is also a piece of JSON's syntax does not break the document.
func (r *Redactor) tree(v any) any {
	switch v := v.(type) {
	case string:
		if _, err := time.Parse(time.RFC3339Nano, v); err == nil {
			return v // ours: a short secret that is found in it by chance must not make it unreadable
		}
		return r.String(v)
	case []any:
		for i := range v {
			v[i] = r.tree(v[i])
		}
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			if !fieldName.MatchString(k) {
				k = r.String(k)
			}
			out[k] = r.tree(x)
		}
		return out
	}
	return v
}

func (r *Redactor) event(ev steps.Event) steps.Event { return clean(r, ev) }
