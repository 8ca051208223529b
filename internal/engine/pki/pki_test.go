package pki_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/pki"
)

func open(t testing.TB, dir string) *pki.Authority {
	t.Helper()
	a, err := pki.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func parse(t *testing.T, text []byte) *x509.Certificate {
	t.Helper()
	b, rest := pem.Decode(text)
	if b == nil || len(rest) != 0 {
		t.Fatalf("not one PEM block: %q", text)
	}
	c, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOpen(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "pki")
	first := open(t, dir)
	if again := open(t, dir); !bytes.Equal(first.CA(), again.CA()) {
		t.Error("the authority changed")
	}
	root := parse(t, first.CA())
	if !root.IsCA || root.PublicKey.(*ecdsa.PublicKey).Curve.Params().Name != "P-256" {
		t.Errorf("root: CA %t, key %v", root.IsCA, root.PublicKey)
	}
	if years := time.Until(root.NotAfter).Hours() / 24 / 365; years < 9.9 || years > 10.1 {
		t.Errorf("valid for %.1f years", years)
	}
	for name, want := range map[string]os.FileMode{".": 0o700 | os.ModeDir, "ca-key.pem": 0o600, "ca-cert.pem": 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %s, want %s", name, info.Mode(), want)
		}
	}
}

// What a kill between key and certificate leaves is completed; what belongs not
// together is refused.
func TestOpenPartly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, dir)
	if err := os.Remove(filepath.Join(dir, "ca-cert.pem")); err != nil {
		t.Fatal(err)
	}
	a := open(t, dir)
	if _, _, err := a.Issue("a", nil); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(dir, "ca-key.pem")); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.Open(dir); !droveway.Is(err, droveway.Internal) {
		t.Errorf("a certificate without its key: %v, want internal", err)
	}
	for _, name := range []string{"ca-key.pem", "ca-cert.pem"} {
		dir := t.TempDir()
		open(t, dir)
		if err := os.WriteFile(filepath.Join(dir, name), []byte("damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := pki.Open(dir); !droveway.Is(err, droveway.Internal) {
			t.Errorf("damaged %s: %v, want internal", name, err)
		}
	}
}

func TestIssue(t *testing.T) {
	t.Parallel()
	a := open(t, t.TempDir())
	text, _, err := a.Issue("host-a", []string{"10.0.0.1", "fd00::1", "a.example", "host-a", "a.example", ""})
	if err != nil {
		t.Fatal(err)
	}
	c := parse(t, text)
	if c.Subject.CommonName != "host-a" || c.IsCA {
		t.Errorf("name %s, CA %t", c.Subject.CommonName, c.IsCA)
	}
	if d := cmp.Diff([]string{"host-a", "a.example"}, c.DNSNames); d != "" {
		t.Error(d)
	}
	if len(c.IPAddresses) != 2 || !c.IPAddresses[0].Equal(net.ParseIP("10.0.0.1")) {
		t.Errorf("addresses %v", c.IPAddresses)
	}
	if c.NotAfter.After(parse(t, a.CA()).NotAfter) {
		t.Error("it outlives its authority")
	}
	// QEMU wants both.
	if want := x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment; c.KeyUsage != want {
		t.Errorf("key usage %b, want %b", c.KeyUsage, want)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(a.CA())
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if _, err := c.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			t.Error(err)
		}
	}
}

// Whatever a request asks for, the certificate says what the authority was told.
func TestSignReplacesName(t *testing.T) {
	t.Parallel()
	a := open(t, t.TempDir())
	csr, _, err := pki.NewRequest("host-b")
	if err != nil {
		t.Fatal(err)
	}
	text, err := a.Sign(csr, "host-a", []string{"10.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	c := parse(t, text)
	if d := cmp.Diff([]string{"host-a"}, c.DNSNames); c.Subject.CommonName != "host-a" || d != "" {
		t.Errorf("%s %s", c.Subject.CommonName, d)
	}
}

func TestSignInvalid(t *testing.T) {
	t.Parallel()
	a := open(t, t.TempDir())
	good, _, err := pki.NewRequest("a")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := pem.Decode(good)
	b.Bytes[len(b.Bytes)-1] ^= 1 // in the signature
	for name, csr := range map[string][]byte{
		"empty":           nil,
		"no PEM":          []byte("hello"),
		"another block":   a.CA(),
		"wrong signature": pem.EncodeToMemory(b),
	} {
		if _, err := a.Sign(csr, "a", nil); !droveway.Is(err, droveway.Invalid) {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
	if _, err := a.Sign(good, "", nil); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("no name: %v, want invalid", err)
	}
}

// Two ends with certificates of one authority trust each other; with those of
// two they do not.
func TestHandshake(t *testing.T) {
	t.Parallel()
	ours, theirs := open(t, t.TempDir()), open(t, t.TempDir())
	if err := handshake(t, ours, ours); err != nil {
		t.Error(err)
	}
	if err := handshake(t, ours, theirs); err == nil {
		t.Error("a stranger was let in")
	}
}

func handshake(t *testing.T, server, client *pki.Authority) error {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", config(t, server, "host-a", server))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	served := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			served <- err
			return
		}
		_, err = io.WriteString(c, "hello")
		served <- err
		_ = c.Close()
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), config(t, client, "host-b", server))
	if err == nil {
		_, err = io.ReadAll(c)
		_ = c.Close()
	}
	if err2 := <-served; err == nil {
		err = err2
	}
	return err
}

func config(t *testing.T, own *pki.Authority, name string, trusted *pki.Authority) *tls.Config {
	t.Helper()
	cert, key, err := own.Issue(name, []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(trusted.CA())
	return &tls.Config{
		Certificates: []tls.Certificate{pair}, RootCAs: pool, ClientCAs: pool,
		ClientAuth: tls.RequireAndVerifyClientCert, ServerName: "host-a",
	}
}

// A request comes from a host that nobody knows yet.
func FuzzSign(f *testing.F) {
	a := open(f, f.TempDir())
	csr, key, err := pki.NewRequest("host-a")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(csr)
	f.Add(key)
	f.Add(a.CA())
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n"))
	f.Fuzz(func(t *testing.T, csr []byte) {
		text, err := a.Sign(csr, "host-a", nil)
		if err == nil && parse(t, text).Subject.CommonName != "host-a" {
			t.Error("signed another name")
		}
	})
}
