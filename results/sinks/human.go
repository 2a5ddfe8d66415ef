package sinks

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

type suite struct {
	XMLName  xml.Name `xml:"testsuite"`
	Name     string   `xml:"name,attr"`
	Tests    int      `xml:"tests,attr"`
	Failures int      `xml:"failures,attr"`
	Errors   int      `xml:"errors,attr"`
	Skipped  int      `xml:"skipped,attr"`
	Time     string   `xml:"time,attr"`
	At       string   `xml:"timestamp,attr"`
	Cases    []kase   `xml:"testcase"`
}

type kase struct {
	Name    string   `xml:"name,attr"`
	Class   string   `xml:"classname,attr"`
	Time    string   `xml:"time,attr"`
	Failure *failure `xml:"failure,omitempty"`
	Error   *failure `xml:"error,omitempty"`
	Skipped *skipped `xml:"skipped,omitempty"`
	Out     string   `xml:"system-out,omitempty"`
}

type failure struct {
	Type    string `xml:"type,attr"`
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

type skipped struct {
	Message string `xml:"message,attr,omitempty"`
}

// JUnit writes a test suite with a case per stage, and a case per resource that a stage of several worked on, such as an Application. A
// stage where all was kept has passed: nothing was left out.
func JUnit(w io.Writer, res *engine.RunResult) error {
	s := suite{Name: "pipectl." + res.Pipeline, Time: seconds(res.DurationSeconds), At: res.StartedAt.UTC().Format("2006-01-02T15:04:05")}
	for _, st := range res.Stages {
		k := kase{Name: st.Stage, Class: "pipectl." + res.Pipeline + "." + st.Step, Time: seconds(st.DurationSeconds), Out: changes(st.Changes)}
		switch st.Status {
		case steps.Succeeded, steps.Skipped, steps.Destroyed, steps.Planned:
		case steps.Blocked, steps.Canceled:
			s.Skipped++
			k.Skipped = &skipped{Message: message(st)}
		case steps.Errored:
			s.Errors++
			k.Error = fault(st)
		default:
			s.Failures++
			k.Failure = fault(st)
		}
		s.Cases = append(s.Cases, k)
		s.resources(res.Pipeline, st)
	}
	s.Tests = len(s.Cases)
	raw, err := xml.MarshalIndent(s, "", "  ")
	if err == nil {
		_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, raw)
	}
	if err != nil {
		return fmt.Errorf("junit: %w", err)
	}
	return nil
}

// resources adds a case for each resource of a stage: those that failed, then the others. One that was begun and whose end was not seen
// is neither.
func (s *suite) resources(pipeline string, st steps.Result) {
	failed := map[string]bool{}
	class := "pipectl." + pipeline + "." + st.Stage
	for _, c := range st.Failed {
		failed[c.Kind+"/"+c.Name] = true
		s.Failures++
		s.Cases = append(s.Cases, kase{Name: c.Kind + "/" + c.Name, Class: class, Time: seconds(c.DurationSeconds), Failure: &failure{Type: "Failed", Message: c.Error, Text: "error: " + c.Error}})
	}
	for _, c := range st.Resources {
		if failed[c.Kind+"/"+c.Name] || c.Unfinished || st.Status == steps.Planned {
			continue
		}
		s.Cases = append(s.Cases, kase{Name: c.Kind + "/" + c.Name, Class: class, Time: seconds(c.DurationSeconds), Out: string(c.Action)})
	}
}

func fault(st steps.Result) *failure {
	f := &failure{Type: string(st.Status), Message: message(st)}
	if st.Error != nil {
		f.Type, f.Text = st.Error.Code, "error: "+st.Error.Message
		if st.Error.Hint != "" {
			f.Text += "\nhint: " + st.Error.Hint
		}
	}
	return f
}

func message(st steps.Result) string {
	if st.Error == nil {
		return ""
	}
	return st.Error.Message
}

func seconds(s float64) string { return fmt.Sprintf("%.3f", s) }

func changes(c steps.Counts) string {
	var out []string
	for _, x := range []struct {
		n    int
		what string
	}{{c.Create, "created"}, {c.Update, "updated"}, {c.Delete, "deleted"}, {c.Keep, "kept"}} {
		if x.n > 0 {
			out = append(out, fmt.Sprintf("%d %s", x.n, x.what))
		}
	}
	return strings.Join(out, ", ")
}

// costs is a paragraph on what things cost; unknown prices are said, not counted.
func costs(c *steps.Cost) string {
	least, text := "", ""
	if len(c.Unknown) > 0 {
		least, text = "at least ", "; price unknown: "+cell(strings.Join(c.Unknown, ", "))
	}
	if c.HourlyUSD == 0 {
		return "\nCosts are not known" + text + ".\n"
	}
	return fmt.Sprintf("\nCosts %s%.3f USD per hour: %.2f a month, %.2f at %d h a day, %.2f after `down` (list prices, the oldest of %s%s).\n",
		least, c.HourlyUSD, c.MonthlyUSD, c.MonthlyPartTimeUSD, steps.HoursADay, c.MonthlyAfterDownUSD, c.PricesAsOf, text)
}

// Markdown writes a summary for people, as for a pull request or $GITHUB_STEP_SUMMARY.
func Markdown(w io.Writer, res *engine.RunResult) error {
	var b strings.Builder
	fmt.Fprintf(&b, "### pipectl %s %s: %s\n\n", res.Verb, cell(res.Pipeline), res.Status)
	b.WriteString("| stage | step | status | changes | time |\n|---|---|---|---|---|\n")
	for _, st := range res.Stages {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", cell(st.Stage), cell(st.Step), st.Status, changes(st.Changes), span(st.DurationSeconds))
	}
	if res.Cost != nil {
		b.WriteString(costs(res.Cost))
	}
	for _, e := range res.Errors {
		fmt.Fprintf(&b, "\n- **%s** %s\n", cell(e.Stage), cell(e.Message))
		if e.Hint != "" {
			fmt.Fprintf(&b, "  - %s\n", cell(e.Hint))
		}
	}
	for _, text := range res.Warnings {
		fmt.Fprintf(&b, "\n> %s\n", cell(text))
	}
	names, text := values(res)
	if len(res.Outputs) > 0 {
		b.WriteString("\n| output | value |\n|---|---|\n")
	}
	for _, n := range names {
		if _, ok := res.Outputs[n]; ok {
			fmt.Fprintf(&b, "| %s | %s |\n", cell(n), cell(text[n]))
		}
	}
	if res.Next != nil {
		fmt.Fprintf(&b, "\nCarry on: `%s`  \nBack out: `%s`\n", res.Next.Resume, res.Next.BackOut)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("markdown: %w", err)
	}
	return nil
}

// cell keeps text from being read as Markdown or HTML.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "\r", "", "<", "&lt;", ">", "&gt;").Replace(s)
}

func span(s float64) string {
	return (time.Duration(s*1000) * time.Millisecond).Round(100 * time.Millisecond).String()
}
