package inspect

import (
	"fmt"
	"path"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/luks"
)

// maxUnlocked is how many volumes are tried: each try takes seconds, as it is meant
// to.
const maxUnlocked = 16

// unlock adds what is inside the encrypted volumes for which there is a key. It is
// called again after volumes were added.
func (s *inspection) unlock() {
	tried := 0
	for _, v := range s.volumes {
		if !strings.HasPrefix(v.Kind, "luks") || v.locked != nil || v.Unlocked {
			continue
		}
		c, err := luks.Open(v.r, v.Size)
		if err != nil {
			v.Problem = err.Error()
			continue
		}
		v.locked, v.UUID, v.Label, v.Tokens = c, c.UUID, c.Label, c.Tokens
		if tried++; tried <= maxUnlocked {
			s.tryKeys(v)
		}
	}
}

func (s *inspection) tryKeys(v *volume) {
	for i := range s.keys {
		k := &s.keys[i]
		if !k.For(v.locked) {
			continue
		}
		inside, err := k.Open(s.ctx, v.locked)
		if err != nil {
			v.Problem = fmt.Sprintf("key %s: %v", k.Name, err)
			continue
		}
		s.report.opened = append(s.report.opened, i)
		v.Unlocked, v.Problem = true, ""
		if a := s.add(v.Name+"/open", inside, inside.Size, nil); a != nil {
			a.alias = []string{"/dev/mapper/luks-" + v.UUID}
			v.inside = a
			s.on(a, v.Name)
		}
		return
	}
}

// UnusedKeys fails if a key opened nothing on any of the disks that belong together: who
// gives one wants it to open something, and would otherwise take an encrypted system for
// an unknown one. A key for any volume may be given for disks that have nothing to open.
// What is nil was not looked into.
func UnusedKeys(keys []luks.Key, disks ...*Report) error {
	var shut []string
	used := map[int]bool{}
	for n, r := range disks {
		if r == nil {
			continue
		}
		where := ""
		if len(disks) > 1 {
			where = fmt.Sprintf("disk %d, ", n+1)
		}
		for _, v := range r.Volumes {
			if v.Encrypted && !v.Unlocked {
				shut = append(shut, fmt.Sprintf("%s%s (%s, UUID %s): %s", where, v.Name, v.Kind, v.UUID, v.Problem))
			}
		}
		for _, i := range r.opened {
			used[i] = true
		}
	}
	for i := range keys {
		k := &keys[i]
		switch {
		case used[i] || k.UUID == "" && len(shut) == 0:
		case len(shut) == 0:
			return droveway.Errorf(droveway.Invalid, "key %s is for volume %s, which is not locked or not there: check the UUID", k.Name, k.UUID)
		default:
			return droveway.Errorf(droveway.Permission, "key %s opens nothing: %s", k.Name, strings.Join(shut, "; "))
		}
	}
	return nil
}

// nameUnlocked gives unlocked volumes the names that crypttab does: fstab uses
// them.
func (s *inspection) nameUnlocked() {
	b, err := s.tree.ReadFile("/etc/crypttab", maxConfig)
	if err != nil {
		return
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 || strings.HasPrefix(f[0], "#") || len(s.report.System.Crypttab) >= maxMounts {
			continue
		}
		m := Mapped{Name: f[0], Spec: f[1]}
		if v := s.bySpec(f[1]); v != nil {
			m.Volume = v.Name
			if v.inside != nil {
				v.inside.alias = append(v.inside.alias, path.Join("/dev/mapper", f[0]))
			}
		}
		s.report.System.Crypttab = append(s.report.System.Crypttab, m)
	}
}
