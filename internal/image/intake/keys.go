package intake

import (
	"sync"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/image/luks"
	"github.com/droveway/droveway/internal/image/preflight"
)

// keyring has the keys of imports under way, by what their transfers are called in the
// stage. They are nowhere else: not in a job, which everybody can read who may read
// jobs, and not on a disk.
type keyring struct {
	mu   sync.Mutex
	keys map[string][]luks.Key
}

func (k *keyring) put(stage string, keys []luks.Key) {
	if len(keys) == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keys == nil {
		k.keys = map[string][]luks.Key{}
	}
	k.keys[stage] = keys
}

func (k *keyring) get(stage string) []luks.Key {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keys[stage]
}

func (k *keyring) forget(stage string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.keys, stage)
}

// unlocking are the wishes of an import with its keys. They are gone if the server has
// started anew since they were given.
func (w work) unlocking(r *run) (preflight.Wishes, error) {
	wishes := w.wishes()
	wishes.OneOfMany = len(r.State.Images) > 1
	if !w.Locked {
		return wishes, nil
	}
	if wishes.Keys = w.keys.get(w.Stage); len(wishes.Keys) == 0 {
		return wishes, job.Permanent(droveway.Errorf(droveway.Permission, "import image %s: its keys were in the server's memory alone, and it has started anew since: import it again, with --luks-key", w.Name))
	}
	return wishes, nil
}
