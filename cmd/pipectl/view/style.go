package view

import (
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// Style is what the terminal can do. The zero value is plain ASCII without colour, 80 columns wide.
type Style struct {
	Color bool
	UTF8  bool
	Width int
	// Height is the number of rows a live picture may take; zero is no limit.
	Height int
}

// Detect reads the usual environment variables; terminal says whether the stream is one.
func Detect(terminal bool, getenv func(string) string) Style {
	s := Style{Width: 80}
	locale := getenv("LC_ALL")
	if locale == "" {
		locale = getenv("LC_CTYPE")
	}
	if locale == "" {
		locale = getenv("LANG")
	}
	locale = strings.ToLower(locale)
	s.UTF8 = strings.Contains(locale, "utf-8") || strings.Contains(locale, "utf8")
	s.Color = terminal && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
	if getenv("CLICOLOR_FORCE") != "" {
		s.Color = true
	}
	return s
}

// The palette: the terminal's own sixteen colours, so that it fits the reader's theme.
const (
	bold   = "1"
	dim    = "90"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (s Style) paint(code, text string) string {
	if !s.Color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s Style) width() int {
	if s.Width < 40 {
		return 40
	}
	return s.Width
}

// pick chooses a glyph that the terminal can show.
func (s Style) pick(utf8, ascii string) string {
	if s.UTF8 {
		return utf8
	}
	return ascii
}

func (s Style) dot() string      { return s.pick(" · ", ", ") }
func (s Style) ellipsis() string { return s.pick("…", "...") }

// Bar is a line of n cells, share of it filled.
func (s Style) Bar(n int, share float64) string { return s.bar(n, share, cyan) }

// Cut shortens text to the terminal's width.
func (s Style) Cut(text string) string { return s.cut(text, s.width()-1) }

// bar is a line of n cells, share of it filled.
func (s Style) bar(n int, share float64, color string) string {
	halves := int(share*float64(2*n) + 0.5)
	halves = max(0, min(halves, 2*n))
	full := strings.Repeat(s.pick("━", "="), halves/2)
	rest := n - halves/2
	if halves%2 == 1 {
		full += s.pick("╸", "-")
		rest--
	}
	return s.paint(color, full) + s.paint(dim, strings.Repeat(s.pick("─", "."), rest))
}

// cut shortens text to n cells.
func (s Style) cut(text string, n int) string {
	if n <= 0 {
		return ""
	}
	return ansi.Truncate(text, n, s.ellipsis())
}

// left pads text to n cells after cutting it.
func (s Style) left(text string, n int) string {
	text = s.cut(text, n)
	return text + strings.Repeat(" ", max(0, n-ansi.StringWidth(text)))
}

// right pads text on its left to n cells.
func (s Style) right(text string, n int) string {
	return strings.Repeat(" ", max(0, n-ansi.StringWidth(text))) + text
}

// ends puts a at the left and b at the right edge of n cells.
func (s Style) ends(a, b string, n int) string {
	if b == "" {
		return s.cut(a, n)
	}
	a = s.cut(a, n-ansi.StringWidth(b)-1)
	return a + strings.Repeat(" ", max(1, n-ansi.StringWidth(a)-ansi.StringWidth(b))) + b
}
