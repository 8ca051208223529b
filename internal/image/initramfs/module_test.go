package initramfs

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/droveway/droveway"
)

// TestModuleNeeds refuses programs that are no modules, and what is no program.
func TestModuleNeeds(t *testing.T) {
	t.Parallel()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	if _, err := ModuleNeeds(self); !droveway.Is(err, droveway.Invalid) || !strings.Contains(err.Error(), "says nothing of itself") {
		t.Errorf("a program: %v", err)
	}
	if _, err := ModuleNeeds(strings.NewReader("text")); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("text: %v", err)
	}
}

// FuzzModuleNeeds reads modules that are damaged.
func FuzzModuleNeeds(f *testing.F) {
	f.Add([]byte("\x7fELF\x02\x01\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		needs, err := ModuleNeeds(bytes.NewReader(b))
		if err != nil && !droveway.Is(err, droveway.Invalid) {
			t.Errorf("%v, %v", needs, err)
		}
	})
}
