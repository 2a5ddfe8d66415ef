// Package report draws a run as one HTML page from its events: no script is loaded, no font, nothing from elsewhere.
//
// It reads events and nothing else, so that a page can be drawn on another day from a file.
package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"time"

	"pipectl.dev/cmd/pipectl/view"
	"pipectl.dev/steps"
)

//go:embed page.html
var source string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"span":  view.Span,
	"money": view.Money,
	"pct":   func(f float64) template.CSS { return template.CSS(fmt.Sprintf("%.3f%%", f*100)) },
	"clock": func(t time.Time) string { return t.UTC().Format("15:04:05") },
	"day":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") },
}).Parse(source))

// HTML writes the page.
func HTML(w io.Writer, events []steps.Event) error {
	return page.Execute(w, collect(events))
}
