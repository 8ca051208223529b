package discover

// recent is a map of at most so many entries that forgets the one touched
// longest ago: what bounds the memory that a host can claim.
type recent[K comparable, V any] struct {
	limit   int
	entries map[K]*entry[K, V]
	root    entry[K, V] // a ring: root.next is the oldest
}

type entry[K comparable, V any] struct {
	next, prev *entry[K, V]
	key        K
	value      V
	touched    int64 // unix nanoseconds
}

func newRecent[K comparable, V any](limit int) *recent[K, V] {
	r := &recent[K, V]{limit: limit, entries: map[K]*entry[K, V]{}}
	r.root.next, r.root.prev = &r.root, &r.root
	return r
}

func (r *recent[K, V]) get(k K) (v V, ok bool) {
	if e := r.entries[k]; e != nil {
		return e.value, true
	}
	return v, false
}

// put adds or touches an entry; evicted is called with what has to go for it.
func (r *recent[K, V]) put(k K, v V, now int64, evicted func(K, V)) {
	e := r.entries[k]
	if e == nil {
		if len(r.entries) >= r.limit {
			r.drop(r.root.next, evicted)
		}
		e = &entry[K, V]{key: k}
		r.entries[k] = e
	} else {
		e.unlink()
	}
	e.value, e.touched = v, now
	e.prev, e.next = r.root.prev, &r.root
	e.prev.next, e.next.prev = e, e
}

func (r *recent[K, V]) remove(k K) {
	if e := r.entries[k]; e != nil {
		r.drop(e, nil)
	}
}

// expire forgets what was not touched since a time.
func (r *recent[K, V]) expire(since int64, evicted func(K, V)) {
	for e := r.root.next; e != &r.root && e.touched < since; e = r.root.next {
		r.drop(e, evicted)
	}
}

func (r *recent[K, V]) drop(e *entry[K, V], evicted func(K, V)) {
	e.unlink()
	delete(r.entries, e.key)
	if evicted != nil {
		evicted(e.key, e.value)
	}
}

func (e *entry[K, V]) unlink() { e.prev.next, e.next.prev = e.next, e.prev }
