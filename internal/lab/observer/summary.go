package observer

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
)

// Summary is the newest report of each run of a guest's program.
type Summary struct {
	Runs []Note
}

// Acknowledged is the greatest Seq that was reported as durable.
func (s Summary) Acknowledged() (seq uint64) {
	for _, r := range s.Runs {
		seq = max(seq, r.Durable)
	}
	return seq
}

// Rewound counts acknowledged records that a later run did not find on its disk:
// a run begins after the newest record that it found.
func (s Summary) Rewound() (lost uint64) {
	var durable uint64
	for _, r := range s.Runs {
		if r.First > 0 && durable >= r.First {
			lost += durable - r.First + 1
		}
		durable = max(durable, r.Durable)
	}
	return lost
}

// Boots are the boot ids that were seen, in order: one, if the guest never
// started again.
func (s Summary) Boots() (ids []string) {
	for _, r := range s.Runs {
		if len(ids) == 0 || ids[len(ids)-1] != r.BootID {
			ids = append(ids, r.BootID)
		}
	}
	return ids
}

// Wrong counts what the guest itself saw go wrong: records and pages of memory
// that it read back and that were not what it had written, and runs that ended
// with an error.
func (s Summary) Wrong() (n uint64) {
	for _, r := range s.Runs {
		n += r.Wrong + r.BadRAM
		if r.Error != "" {
			n++
		}
	}
	return n
}

func (s Summary) String() string {
	return fmt.Sprintf("%d acknowledged in %d runs and %d boots, %d rewound, %d wrong",
		s.Acknowledged(), len(s.Runs), len(s.Boots()), s.Rewound(), s.Wrong())
}

// Read makes the Summary of a journal. A last line that was cut short by a kill
// is left out.
func Read(journal io.Reader) (Summary, error) {
	o := New(nil, nil)
	lines := bufio.NewScanner(journal)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var n Note
		if err := json.Unmarshal(lines.Bytes(), &n); err != nil {
			if lines.Scan() {
				return Summary{}, fmt.Errorf("journal of the observer: %w", err)
			}
			break
		}
		o.note(n)
	}
	return o.Summary(), lines.Err()
}
