package verdict

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Setting is when and where something was measured. A report embeds it.
type Setting struct {
	Time       time.Time `json:"time"`
	CPUs       int       `json:"cpus"`
	CPU        string    `json:"cpu"` // what its maker calls it
	Kernel     string    `json:"kernel"`
	LoadBefore float64   `json:"load_before"` // of the last minute: near 0 on a quiet machine
}

// Here describes this machine, before the benchmark loads it.
func Here() Setting {
	return Setting{
		Time: time.Now().UTC().Truncate(time.Second), CPUs: runtime.NumCPU(),
		CPU: cpuModel(read("/proc/cpuinfo")), Kernel: strings.TrimSpace(read("/proc/sys/kernel/osrelease")),
		LoadBefore: loadAverage(read("/proc/loadavg")),
	}
}

// read gives what the kernel tells; what it does not tell is left out.
func read(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(text)
}

func cpuModel(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// loadAverage reads how busy the machine was in the last minute; see proc(5).
func loadAverage(text string) (load float64) {
	if _, err := fmt.Sscan(text, &load); err != nil {
		return 0
	}
	return load
}

// Quantile gives the value that a part q of the values does not exceed: 0.5 is the
// median. Without values it is 0.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
