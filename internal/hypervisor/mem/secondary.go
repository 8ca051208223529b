package mem

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// Secondary serves disks.
type Secondary struct {
	driver *Driver
	id     string
	spec   hypervisor.SecondarySpec
	server *server

	mu      sync.Mutex
	dead    bool
	exports map[string]*os.File
}

// Secondary starts to listen.
func (d *Driver) Secondary(ctx context.Context, spec hypervisor.SecondarySpec) (hypervisor.Secondary, error) {
	if err := d.fault("Secondary"); err != nil {
		return nil, err
	}
	s := &Secondary{driver: d, id: d.id("secondary", spec.Machine), spec: spec, exports: map[string]*os.File{}}
	var err error
	if s.server, err = serve(ctx, spec.Listen, s.answer, func() {}); err != nil {
		return nil, droveway.Errorf(droveway.Unavailable, "serve disks of machine %s: %w", spec.Machine, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.secondaries[s.id] = s
	return s, nil
}

// AttachSecondary finds a secondary.
func (d *Driver) AttachSecondary(ctx context.Context, h hypervisor.Handle) (hypervisor.Secondary, error) {
	id, err := decode(h)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	s := d.secondaries[id]
	d.mu.Unlock()
	if s == nil || !s.Alive(ctx) {
		return nil, droveway.Errorf(droveway.NotFound, "secondary %s runs no more", id)
	}
	return s, nil
}

// Handle is what AttachSecondary takes.
func (s *Secondary) Handle() hypervisor.Handle { return encode(s.id) }

// PID is 0: the secondary has no process.
func (s *Secondary) PID() int { return 0 }

// Address is where it listens.
func (s *Secondary) Address() string { return s.server.address() }

// Close does nothing: the secondary lives in the driver.
func (s *Secondary) Close() error { return nil }

// Alive tells whether it was neither stopped nor killed.
func (s *Secondary) Alive(context.Context) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.dead
}

// Export opens disks and serves them.
func (s *Secondary) Export(_ context.Context, disks []hypervisor.Disk) error {
	if err := s.driver.fault("Export"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return droveway.Errorf(droveway.NotFound, "export disks of machine %s: the secondary runs no more", s.spec.Machine)
	}
	for _, d := range disks {
		if s.exports[d.Name] != nil {
			continue
		}
		f, err := openLocked(d.Path)
		if err != nil {
			return fmt.Errorf("export disk %s of machine %s: %w", d.Name, s.spec.Machine, err)
		}
		s.exports[d.Name] = f
	}
	return nil
}

// Revoke closes the exports.
func (s *Secondary) Revoke(context.Context) error {
	if err := s.driver.fault("Revoke"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, f := range s.exports {
		if err := f.Sync(); err != nil {
			return err
		}
		f.Close()
		delete(s.exports, name)
	}
	return nil
}

// Stop revokes and ends.
func (s *Secondary) Stop(ctx context.Context) error {
	if err := s.Revoke(ctx); err != nil {
		return err
	}
	s.Kill()
	return nil
}

// Kill ends the secondary as a crash would.
func (s *Secondary) Kill() {
	s.server.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = true
	for _, f := range s.exports {
		f.Close()
	}
	s.exports = nil
}

func (s *Secondary) answer(r request) response {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.exports[r.Name]
	if f == nil {
		return response{Err: fmt.Sprintf("there is no export %q", r.Name)}
	}
	a, err := perform(f, r)
	if err != nil {
		a.Err = err.Error()
	}
	return a
}

func perform(f *os.File, r request) (response, error) {
	switch r.Op {
	case "size":
		fi, err := f.Stat()
		if err != nil {
			return response{}, err
		}
		return response{Size: fi.Size()}, nil
	case "read":
		p := make([]byte, min(max(r.N, 0), maxRead))
		_, err := f.ReadAt(p, r.Off)
		return response{Data: p}, err
	case "write":
		_, err := f.WriteAt(r.Data, r.Off)
		return response{}, err
	}
	return response{}, fmt.Errorf("there is no operation %q", r.Op)
}

// maxRead bounds what a request can make the secondary allocate.
const maxRead = 4 << 20
