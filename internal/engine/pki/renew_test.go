package pki_test

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/pki"
)

// What is signed for others lasts a year and is due with a third of that to go; what
// the server issues for itself lasts as long as the authority, and so does nothing
// longer.
func TestRenewal(t *testing.T) {
	t.Parallel()
	a := open(t, t.TempDir())
	const day = 24 * time.Hour
	csr, key, err := pki.NewRequest("host-a")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		authority *pki.Authority
		life      time.Duration
	}{
		"a year":      {a, 365 * day},
		"nine hours":  {a.Lasting(9 * time.Hour), 9 * time.Hour},
		"for ever":    {a.Lasting(100 * 365 * day), time.Until(a.Ends())},
		"an hour ago": {a.Lasting(-time.Minute), -time.Minute},
	} {
		text, err := c.authority.Sign(csr, "host-a", nil)
		if err != nil {
			t.Fatal(err)
		}
		due, ends, err := pki.Renewal(text)
		if err != nil || !near(time.Until(ends), c.life) || !near(time.Until(due), c.life-c.life/3) {
			t.Errorf("%s: due in %s, ends in %s, %v", name, time.Until(due), time.Until(ends), err)
		}
	}
	own, _, err := a.Issue("server", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, ends, err := pki.Renewal(own); err != nil || !ends.Equal(a.Ends()) {
		t.Errorf("the server's own ends at %s, the authority at %s, %v", ends, a.Ends(), err)
	}
	for _, text := range [][]byte{nil, key} {
		if _, _, err := pki.Renewal(text); !droveway.Is(err, droveway.Invalid) {
			t.Errorf("no certificate: %v, want invalid", err)
		}
	}
}

func near(a, b time.Duration) bool { return (a - b).Abs() < 5*time.Second }

// A renewed certificate is one for the key that there is.
func TestRequestForAKeyThatThereIs(t *testing.T) {
	t.Parallel()
	a := open(t, t.TempDir())
	_, key, err := pki.NewRequest("host-a")
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.Request("host-a", key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := a.Sign(csr, "host-a", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		t.Error(err)
	}
	if _, err := pki.Request("host-a", cert); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("no key: %v, want invalid", err)
	}
}
