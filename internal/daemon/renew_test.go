package daemon_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/daemon"
	"github.com/droveway/droveway/internal/daemon/daemontest"
)

// The certificates of a host are renewed before they end, again and again, while the
// server comes and goes; whoever reads the files meanwhile finds a valid pair.
func TestCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	f := daemontest.With(t, func(c *daemon.ServerConfig) { c.HostCertLife = 9 * time.Second }, "a")
	dir := filepath.Join(filepath.Dir(f.ContextFile()), "..", "a", "identity", "tls")
	serials := map[string]bool{}
	f.Await("the certificate was renewed once", func(context.Context, *client.Client) bool {
		serials[valid(t, dir)] = true
		return len(serials) == 2
	})
	f.StopServer()
	time.Sleep(2 * time.Second)
	f.StartServer()
	f.Await("the certificate was renewed again", func(context.Context, *client.Client) bool {
		serials[valid(t, dir)] = true
		return len(serials) == 4
	})
}

// valid gives the serial number of a host's certificate, which must be valid and that
// of its key, on both sides.
func valid(t *testing.T, dir string) string {
	t.Helper()
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(filepath.Join(dir, "ca-cert.pem"))
	must(t, err)
	roots.AppendCertsFromPEM(ca)
	var serial string
	for _, side := range []string{"client", "server"} {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, side+"-cert.pem"), filepath.Join(dir, side+"-key.pem"))
		must(t, err)
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "a", KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
			t.Fatalf("%s certificate: %v", side, err)
		}
		serial = pair.Leaf.SerialNumber.String()
	}
	return serial
}

// The end of the authority is a metric, and once it is near an event at each start
// of the server, besides the one a day.
func TestEndOfTheAuthority(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	var ends time.Time
	lasts := func(left time.Duration) { ends = time.Now().Add(left).Truncate(time.Second) }
	lasts(300 * day)
	f := daemontest.With(t, func(c *daemon.ServerConfig) { rootUntil(t, filepath.Join(c.Data, "pki"), ends) })
	first := f.Client()
	defer first.Close()
	_, err := first.CreateNetwork(context.Background(), client.NetworkRequest{Name: "n", Subnet: netip.MustParsePrefix("10.9.0.0/24")}) // an event to watch from
	must(t, err)
	for _, c := range []struct {
		left time.Duration
		told int
	}{{300 * day, 0}, {179 * day, 1}, {179 * day, 2}} {
		f.StopServer()
		lasts(c.left)
		f.StartServer()
		if want := "\ndroveway_authority_end_timestamp_seconds " + strconv.FormatFloat(float64(ends.Unix()), 'g', -1, 64); !strings.Contains(metrics(t, f), want) {
			t.Errorf("the metrics do not say %q", want)
		}
		if n := told(t, f, ends); n != c.told {
			t.Errorf("an authority that ends in %s: told %d times, want %d", c.left, n, c.told)
		}
	}
}

// told is how often an event has told of the end of the authority.
func told(t *testing.T, f *daemontest.Fleet, ends time.Time) (n int) {
	t.Helper()
	c := f.Client()
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = c.Events(ctx, 1, "server", func(_ uint64, e droveway.Event) error { // until the time is over
		if e.Type == "authority.ends" && strings.Contains(string(e.Data), ends.UTC().Format(time.DateOnly)) {
			n++
		}
		return nil
	})
	return n
}

func metrics(t *testing.T, f *daemontest.Fleet) string {
	t.Helper()
	who, err := client.LoadContext(f.ContextFile())
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(who.CA))
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequest(http.MethodGet, who.Server+"/metrics", nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+who.Token)
	resp, err := (&http.Client{Transport: tr}).Do(req)
	must(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	return string(b)
}

// rootUntil makes the root of an authority that ends at a time.
func rootUntil(t *testing.T, dir string, ends time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Droveway"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: ends,
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, root, root, &key.PublicKey, key)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	must(t, os.MkdirAll(dir, 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "ca-cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "ca-key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}

// OPERATIONS.md, Certificates: another authority takes the place of one that ends, and
// guests run on meanwhile.
func TestAnotherAuthority(t *testing.T) {
	t.Parallel()
	f, c := running(t)
	c.Close()
	data := filepath.Dir(f.ContextFile())
	m := machineOf(t, f)
	for _, name := range []string{"a", "b"} {
		f.StopHost(name)
	}
	f.StopServer()
	must(t, os.Rename(filepath.Join(data, "pki"), filepath.Join(data, "pki.old")))
	f.StartServer()
	for _, name := range []string{"a", "b"} {
		f.Await("host "+name+" can be taken out", func(ctx context.Context, c *client.Client) bool {
			return c.RemoveHost(ctx, name, true) == nil
		})
		identity := filepath.Join(data, "..", name, "identity")
		must(t, os.Rename(identity, identity+".old"))
		f.StartHost(name, f.Token())
	}
	f.Await("the machine is seen to run", func(ctx context.Context, c *client.Client) bool {
		hosts, err := c.Hosts(ctx)
		for _, h := range hosts {
			if h.Status.State != droveway.HostReady {
				return false
			}
		}
		m, err2 := c.Machine(ctx, "m")
		return errors.Join(err, err2) == nil && len(hosts) == 2 && m.Status.State == droveway.MachineRunning
	})
	if now := machineOf(t, f); now.Status.Token != m.Status.Token || now.Status.Host != m.Status.Host {
		t.Errorf("the machine is %+v, was %+v: want it untouched", now.Status, m.Status)
	}
	c = f.Client()
	defer c.Close()
	j, err := c.MoveMachine(context.Background(), "m", client.MoveRequest{To: "b"}, "")
	done(t, c, j, err)
}

func machineOf(t *testing.T, f *daemontest.Fleet) droveway.Machine {
	t.Helper()
	c := f.Client()
	defer c.Close()
	m, err := c.Machine(context.Background(), "m")
	must(t, err)
	return m
}
