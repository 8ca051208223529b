//go:build lab

package origin_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/lab/record"
	"github.com/droveway/droveway/internal/lab/scene"
	"github.com/droveway/droveway/internal/lab/tinyimage"
	"github.com/droveway/droveway/internal/lab/web"
	"github.com/droveway/droveway/internal/lab/workload"
)

const (
	guestMiB = 48  // of the disk that the guest uses
	diskMiB  = 192 // of all of it
	latency  = 20 * time.Millisecond
	rate     = 4 << 20 // bytes a second: all of the source would take most of a minute
	bootTime = 90 * time.Second
	jobTime  = 4 * time.Minute
	someRecs = 20
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// far is a lab, and a source that is far away and slow.
type far struct {
	*scene.Scene
	web   *web.Server
	link  string
	sum   string // of the source
	image string // path of the raw disk

	mu     sync.Mutex
	events []droveway.Event
}

// open brings the lab up, with a VMDK behind a slow web server.
func open(t *testing.T) *far {
	t.Helper()
	dir, err := os.MkdirTemp("", "o")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	check(t, os.Chmod(dir, 0o711)) // guests run as another user
	binary, err := filepath.Abs("../../../bin/droveway")
	check(t, err)
	cache, err := os.UserCacheDir()
	check(t, err)
	tiny, err := tinyimage.Build(t.Context(), tinyimage.Config{Cache: filepath.Join(cache, "droveway", "images"), SizeMiB: guestMiB, Filled: true})
	check(t, err)
	image := filepath.Join(dir, "image")
	enlarge(t, tiny, image)
	s, err := scene.Open(t.Context(), scene.Config{Dir: filepath.Join(dir, "l"), Binary: binary, Hosts: 2, Log: slog.New(slog.DiscardHandler)})
	check(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			tellLogs(t, s)
		}
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	f := &far{Scene: s, image: image}
	f.serve(t, filepath.Join(dir, "disk.vmdk"))
	f.listen(t)
	return f
}

// enlarge makes a disk with more on it than its guest ever reads.
func enlarge(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	check(t, err)
	more := make([]byte, diskMiB<<20-len(b))
	_, _ = rand.NewChaCha8([32]byte{1}).Read(more) // never fails
	check(t, os.WriteFile(to, append(b, more...), 0o600))
}

func tellLogs(t *testing.T, s *scene.Scene) {
	for _, role := range append([]string{"server"}, s.Lab.Hosts()...) {
		b, err := os.ReadFile(s.Lab.LogFile(role))
		if err == nil {
			lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
			t.Logf("log of %s:\n%s", role, bytes.Join(lines[max(0, len(lines)-40):], []byte("\n")))
		}
	}
}

func (f *far) serve(t *testing.T, path string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "qemu-img", "convert", "-f", "raw", "-O", "vmdk", f.image, path).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img: %v: %s", err, out)
	}
	b, err := os.ReadFile(path)
	check(t, err)
	sum := sha256.Sum256(b)
	f.sum = hex.EncodeToString(sum[:])
	f.web, err = web.New(path)
	check(t, err)
	f.web.Latency = latency
	f.web.SetRate(rate)
	ctx, cancel := context.WithCancel(context.Background())
	ln, err := f.Lab.Listen(ctx, f.Lab.ServerNS(), "tcp", "127.0.0.1:0")
	check(t, err)
	done := make(chan error, 1)
	go func() { done <- f.web.Run(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	f.link = "http://" + ln.Addr().String() + "/disk.vmdk?signature=secret"
}

// listen collects events.
func (f *far) listen(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = f.API.Events(ctx, client.FromNow, "", func(_ uint64, e droveway.Event) error { // ends with ctx
			f.mu.Lock()
			defer f.mu.Unlock()
			f.events = append(f.events, e)
			return nil
		})
	}()
	t.Cleanup(func() { cancel(); <-done })
}

func (f *far) saw(kind string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.events {
		if e.Type == kind {
			return true
		}
	}
	return false
}

func soon(t *testing.T, within time.Duration, what string, met func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !met(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}

func (f *far) works(t *testing.T, g *scene.Guest) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
	defer cancel()
	check(t, g.Works(ctx, someRecs))
}

func (f *far) filling(t *testing.T, name string) *droveway.Filling {
	t.Helper()
	m, err := f.API.Machine(t.Context(), name)
	check(t, err)
	return m.Status.Filling
}

// TestInstantImport runs a machine from a VMDK that is slow and far away: it works
// long before the source is here. Source, server, agent and hypervisor are taken away
// meanwhile, one after the other; no acknowledged write is lost, no byte is wrong,
// and in the end it needs none of them.
func TestInstantImport(t *testing.T) {
	f := open(t)
	began := time.Now()
	o, err := f.API.OfferOrigin(t.Context(), client.OriginRequest{Link: f.link, SHA256: f.sum})
	check(t, err)
	host := f.Lab.Hosts()[0]
	g, err := f.Start(t.Context(), scene.GuestConfig{Name: "web-1", MemoryMiB: 128, Origin: o.Name, Host: host, Work: workload.Config{DelayMS: 20}})
	check(t, err)
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	f.works(t, g)
	t.Logf("works after %s, %d of %d MiB of the source have gone", time.Since(began).Round(time.Millisecond), f.web.Sent()>>20, o.Source.Bytes>>20)
	if share := float64(f.web.Sent()) / float64(o.Source.Bytes); share > 0.6 {
		t.Errorf("it worked only after %.0f %% of the source had gone", share*100)
	}
	f.refusesToMove(t, g)
	f.losesItsSource(t, g)
	f.losesOthers(t, g, host)
	f.web.SetRate(0)
	j, err := f.Wait(t.Context(), g.Job, nil)
	check(t, err)
	check(t, scene.Succeeded(j))
	f.isWhole(t, g, j, o)
	f.works(t, g)
	f.holdsItsBytes(t, g, host)
}

// refusesToMove: what needs the whole disk says so, and how long it takes.
func (f *far) refusesToMove(t *testing.T, g *scene.Guest) {
	t.Helper()
	soon(t, 10*time.Second, "the machine shows how far it is, and how long it takes", func() bool {
		p := f.filling(t, g.Name)
		return p != nil && p.Done > 0 && p.Total == diskMiB<<20 && p.Rate > 0 && p.Remaining > 0 && p.Job == g.Job.Name
	})
	_, move := g.Move(t.Context(), f.Lab.Hosts()[1])
	_, restart := f.API.RestartMachine(t.Context(), g.Name, client.RestartRequest{}, "")
	_, resize := f.API.ResizeMachine(t.Context(), g.Name, client.ResizeRequest{Disks: []client.DiskSize{{Name: "root", SizeMiB: 2 * diskMiB}}}, "")
	for verb, err := range map[string]error{"move": move, "restart": restart, "resize": resize} {
		if !droveway.Is(err, droveway.Conflict) || !strings.Contains(err.Error(), "wait until it is whole") {
			t.Errorf("%s: %v", verb, err)
		}
	}
	if out, err := f.Lab.Droveway(t.Context(), "machine", "show", g.Name, "-o", "json"); err != nil || strings.Contains(string(out), "secret") {
		t.Errorf("the machine shows the secrets of its source, or %v: %s", err, out)
	}
}

// losesItsSource cuts the source for ten seconds: that is told, and it goes on.
func (f *far) losesItsSource(t *testing.T, g *scene.Guest) {
	t.Helper()
	f.web.SetAway(true)
	time.AfterFunc(10*time.Second, func() { f.web.SetAway(false) })
	said := false
	soon(t, 30*time.Second, "an event says that it waits", func() bool {
		p := f.filling(t, g.Name)
		said = said || p != nil && strings.Contains(p.Waits, "disk.vmdk")
		return said && f.saw("machine.waits")
	})
	soon(t, 30*time.Second, "an event says that it goes on", func() bool { return f.saw("machine.goes-on") })
	f.works(t, g)
}

// losesOthers kills everybody who has a part in it.
func (f *far) losesOthers(t *testing.T, g *scene.Guest, host string) {
	t.Helper()
	before := f.web.Sent()
	check(t, f.Lab.KillServer())
	check(t, f.Lab.StartServer(t.Context()))
	check(t, f.Lab.KillHost(host))
	check(t, f.Lab.StartHost(t.Context(), host))
	f.works(t, g)
	pid := instance(f.Lab.Dir(host), g.Name)
	if pid == 0 {
		t.Fatal("there is no instance")
	}
	check(t, syscall.Kill(pid, syscall.SIGKILL))
	soon(t, bootTime, "another instance runs", func() bool { p := instance(f.Lab.Dir(host), g.Name); return p != 0 && p != pid })
	f.works(t, g)
	if p := f.filling(t, g.Name); p == nil {
		t.Errorf("all of it happened when the disk was whole: make it larger or the source slower (%d MiB had gone before)", before>>20)
	}
}

// instance is the process that runs a machine on a host; 0: there is none.
func instance(dir, machine string) int {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		b, err := os.ReadFile(path)
		args := strings.Split(string(b), "\x00")
		if err == nil && filepath.Base(args[0]) == "qemu-system-x86_64" && strings.Contains(string(b), dir+"/") && strings.Contains(string(b), "guest="+machine+",") {
			pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
			return pid
		}
	}
	return 0
}

// isWhole: nothing of the origin is left, and nothing came twice.
func (f *far) isWhole(t *testing.T, g *scene.Guest, j droveway.Job, o droveway.Origin) {
	t.Helper()
	f.web.SetAway(true)
	var res client.Filled
	check(t, json.Unmarshal(j.Result, &res))
	if res.SHA256 != f.sum || res.RequestToWhole == 0 || res.From != strings.TrimSuffix(f.link, "?signature=secret") {
		t.Errorf("result %+v", res)
	}
	m, err := f.API.Machine(t.Context(), g.Name)
	check(t, err)
	if m.Origin() != nil || m.Status.Filling != nil || !f.saw("machine.whole") {
		t.Errorf("the machine %+v", m)
	}
	if _, err := f.API.Origin(t.Context(), o.Name); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("its origin is still there: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(f.Lab.Dir("server"), "origins")); err != nil || len(left) > 0 {
		t.Errorf("files of origins are left: %v, %v", left, err)
	}
	// What was cut was on its way, and went in vain.
	if sent := f.web.Sent(); sent > o.Source.Bytes+o.Source.Bytes/4 {
		t.Errorf("%d MiB went of a source of %d", sent>>20, o.Source.Bytes>>20)
	}
}

// holdsItsBytes compares the disk with the image: a block is as there, or the guest
// has written it.
func (f *far) holdsItsBytes(t *testing.T, g *scene.Guest, host string) {
	t.Helper()
	r, err := g.Check(t.Context())
	check(t, err)
	if r.Lost > 0 || r.Acknowledged == 0 {
		t.Errorf("records: %+v", r)
	}
	raw := filepath.Join(t.TempDir(), "raw")
	out, err := exec.CommandContext(t.Context(), "qemu-img", "convert", "-f", "qcow2", "-O", "raw", f.Volume(host, g.Name, "root", droveway.QCOW2), raw).CombinedOutput()
	if err != nil {
		t.Fatalf("qemu-img: %v: %s", err, out)
	}
	is, err := os.Open(raw)
	check(t, err)
	defer is.Close()
	was, err := os.Open(f.image)
	check(t, err)
	defer was.Close()
	a, b, wrong := make([]byte, record.Size), make([]byte, record.Size), 0
	for {
		_, err := io.ReadFull(was, a)
		if err == io.EOF {
			break
		}
		check(t, err)
		_, err = io.ReadFull(is, b)
		check(t, err)
		if !bytes.Equal(a, b) && !bytes.HasPrefix(b, []byte(record.Magic)) {
			wrong++
		}
	}
	if wrong > 0 {
		t.Errorf("%d blocks are neither the image's nor written by the guest", wrong)
	}
}
