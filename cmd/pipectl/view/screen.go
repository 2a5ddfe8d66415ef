package view

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// frames is the time between two pictures: five a second keep clocks and bars calm and cost nothing.
const frames = 200 * time.Millisecond

// Screen keeps the picture of a Model at the bottom of a terminal, below what is written to it. It uses no alternate screen, so the
// last picture stays in the scrollback.
type Screen struct {
	mu    sync.Mutex
	out   io.Writer
	model *Model
	style func() Style // asked for each picture: the terminal may be resized
	drawn int          // lines of the picture now on the terminal
	last  string
	away  bool // hidden while a question stands there
	quit  chan struct{}
	ended chan struct{}
}

// NewScreen draws model on out until Close.
func NewScreen(out io.Writer, model *Model, style func() Style) *Screen {
	s := &Screen{out: out, model: model, style: style, quit: make(chan struct{}), ended: make(chan struct{})}
	s.draw(time.Now())
	go s.loop()
	return s
}

func (s *Screen) loop() {
	defer close(s.ended)
	tick := time.NewTicker(frames)
	defer tick.Stop()
	for {
		select {
		case <-s.quit:
			return
		case now := <-tick.C:
			s.draw(now)
		}
	}
}

// Write puts text above the picture; logs go through it.
func (s *Screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	b.WriteString(s.erase())
	b.Write(bytes.ReplaceAll(bytes.TrimRight(p, "\n"), []byte("\n"), []byte("\r\n")))
	b.WriteString("\r\n")
	if !s.away {
		b.WriteString(s.last)
		s.drawn = strings.Count(s.last, "\n")
	}
	if _, err := io.WriteString(s.out, b.String()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// draw replaces the picture in one write, wrapped in the synchronised-output mark that terminals use to avoid tearing.
func (s *Screen) draw(now time.Time) {
	st := s.style()
	lines := s.model.Frame(now, st)
	s.mu.Lock()
	defer s.mu.Unlock()
	var picture strings.Builder
	for _, l := range lines {
		picture.WriteString(l + "\x1b[K\r\n")
	}
	if s.away || picture.String() == s.last {
		return
	}
	up := ""
	if s.drawn > 0 {
		up = fmt.Sprintf("\x1b[%dA", s.drawn)
	}
	s.last, s.drawn = picture.String(), len(lines)
	io.WriteString(s.out, "\x1b[?2026h\x1b[?25l"+up+"\r"+s.last+"\x1b[J\x1b[?2026l")
}

// erase removes the picture from the terminal and leaves the cursor where it began.
func (s *Screen) erase() string {
	if s.drawn == 0 {
		return ""
	}
	up := fmt.Sprintf("\x1b[%dA\r\x1b[J", s.drawn)
	s.drawn = 0
	return up
}

// Hide takes the picture away and gives the cursor back, for a question; Show ends that.
func (s *Screen) Hide() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = true
	io.WriteString(s.out, s.erase()+"\x1b[?25h")
}

// Show draws again after Hide.
func (s *Screen) Show() {
	s.mu.Lock()
	s.away, s.last = false, ""
	s.mu.Unlock()
	s.draw(time.Now())
}

// Close draws the last picture and gives the terminal back.
func (s *Screen) Close() {
	close(s.quit)
	<-s.ended
	s.draw(time.Now())
	io.WriteString(s.out, "\x1b[?25h")
}
