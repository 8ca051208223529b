package registry

import (
	"bytes"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/registry/registrytest"
)

func sample() []byte {
	return registrytest.Hive(registrytest.Key{Keys: map[string]registrytest.Key{
		"Microsoft": {Keys: map[string]registrytest.Key{
			"Windows NT": {Values: map[string]any{"ProductName": "Windows Server 2022", "UBR": uint32(2113)}},
			"Other":      {},
		}},
	}})
}

func TestHive(t *testing.T) {
	h, err := Open(bytes.NewReader(sample()))
	if err != nil {
		t.Fatal(err)
	}
	k, err := h.Key(`microsoft\WINDOWS nt`)
	if err != nil {
		t.Fatal(err)
	}
	if got := k.Text("productname"); got != "Windows Server 2022" {
		t.Errorf("product %q", got)
	}
	if n, ok := k.Number("UBR"); !ok || n != 2113 {
		t.Errorf("number %d, %v", n, ok)
	}
	if k.Text("UBR") != "" || k.Text("none") != "" {
		t.Error("a value that is no text was read")
	}
	if _, err := h.Key(`Microsoft\No`); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("%v, want not found", err)
	}
	if _, err := Open(bytes.NewReader(make([]byte, 8192))); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("%v, want invalid", err)
	}
}

func FuzzHive(f *testing.F) {
	f.Add(sample())
	f.Fuzz(func(_ *testing.T, b []byte) {
		h, err := Open(bytes.NewReader(b))
		if err != nil {
			return
		}
		if k, err := h.Key(`Microsoft\Windows NT`); err == nil {
			k.Text("ProductName")
			k.Number("UBR")
		}
	})
}
