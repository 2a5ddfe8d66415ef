package steps

// Check is one thing that a preflight has looked at, for `pipectl doctor`: what a plan needs to know are errors and notes alone.
type Check struct {
	What   string `json:"what"`   // such as "quota EC2-VPC Elastic IPs"
	Detail string `json:"detail"` // such as "1 of 5 used, 1 more needed"
	OK     bool   `json:"ok"`
}

// Checked tells what a preflight has looked at. A check that is not OK also comes back as an error of the preflight.
func (e Env) Checked(what, detail string, ok bool) {
	e.Record(Event{Type: Checked, Message: what + ": " + detail, Data: Check{What: what, Detail: detail, OK: ok}})
}
