package droveway

// Verdict is what a boot check came to.
type Verdict string

// The verdicts. Unknown is a guest of which nothing could be told: it showed no sign
// in time, neither a good nor a bad one.
const (
	BootOK      Verdict = "ok"
	BootFailed  Verdict = "failed"
	BootUnknown Verdict = "unknown"
)

// BootCheck is what became of an image that was started to see whether it comes up.
type BootCheck struct {
	Verdict Verdict `json:"verdict"`
	Sign    string  `json:"sign,omitempty"`    // that decided: "login", "panic", "network", …
	Reason  string  `json:"reason"`            // for people
	Advice  string  `json:"advice,omitempty"`  // what to do
	Console string  `json:"console,omitempty"` // the last of what the guest wrote to its serial console
	TookMS  int64   `json:"took_ms"`
}
