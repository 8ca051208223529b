package record

// Report is what a guest tells the observer, one JSON object a line. Each report
// holds all that the ones before it said, so one may be lost.
type Report struct {
	Run     uint64 `json:"run"`
	BootID  string `json:"boot_id"`
	First   uint64 `json:"first"`   // the first Seq of this run
	Durable uint64 `json:"durable"` // every record up to this Seq was written and flushed
	Wrong   uint64 `json:"wrong"`   // records that were read back and were not what was written
	BadRAM  uint64 `json:"bad_ram"` // pages of memory that were not what was written
	Error   string `json:"error,omitempty"`
}
