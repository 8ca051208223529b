package demo

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/droveway/droveway"
)

// Report is out/demo.json.
type Report struct {
	Moved            bool    `json:"moved"` // runs on the target, and has not booted again
	DiskMiB          int64   `json:"disk_mib"`
	Acknowledged     uint64  `json:"acknowledged"`          // records reported as durable
	Lost             uint64  `json:"lost"`                  // of them, not on the disk
	ClientGap        int64   `json:"client_gap_ms"`         // longest, from the request until the end
	RequestToRunning int64   `json:"request_to_running_ms"` // on the target
	Sync             float64 `json:"sync_s"`                // until the disk had followed
	Rate             float64 `json:"sync_mib_per_s"`
	Equal            bool    `json:"equal"` // both copies, by hashes
	Session          bool    `json:"tcp_session_kept"`
	Boots            int     `json:"boots"`
}

// report prints the table, writes the file, and fails if the demo did.
func (d *demo) report(r *Report) error {
	t := tabwriter.NewWriter(d.Print, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t)
	for _, row := range [][2]any{
		{"from the request to running on the target", fmt.Sprintf("%.1f s", float64(r.RequestToRunning)/1000)},
		{"longest wait of the client, whole move", fmt.Sprintf("%d ms", r.ClientGap)},
		{"its TCP session", kept(r.Session)},
		{"disk that followed", fmt.Sprintf("%d MiB in %.1f s, %.0f MiB/s", r.DiskMiB, r.Sync, r.Rate)},
		{"both copies proved equal", r.Equal},
		{"records acknowledged", r.Acknowledged},
		{"records lost", r.Lost},
	} {
		fmt.Fprintf(t, "  %s\t%v\n", row[0], row[1])
	}
	if err := t.Flush(); err != nil {
		return err
	}
	path, err := r.write(d.Out)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.Print, "\n  %s has the figures. Next: sudo bin/droveway lab up, then\n  droveway host ls, image import, machine create, machine move: see README.md.\n", path)
	if !r.Moved || r.Lost > 0 || !r.Equal || !r.Session {
		return droveway.Errorf(droveway.Internal, "the demo failed: see the table above")
	}
	return nil
}

func kept(yes bool) string {
	if yes {
		return "kept"
	}
	return "broken"
}

func (r *Report) write(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "demo.json")
	return path, os.WriteFile(path, append(b, '\n'), 0o644)
}
