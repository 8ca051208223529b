package graph

import (
	"math/rand/v2"
	"testing"

	"github.com/droveway/droveway/internal/discover"
)

// Keys with the same hash are told apart, whatever comes and goes.
func TestIndex(t *testing.T) {
	for name, hash := range map[string]func(*Key) uint64{
		"as it is":  hasher(),
		"colliding": func(k *Key) uint64 { return uint64(k.Port % 3) },
	} {
		t.Run(name, func(t *testing.T) {
			x := newIndex()
			x.hash = hash
			r, model := rand.New(rand.NewPCG(7, 8)), map[uint16]bool{}
			for range 2000 {
				k := Key{Client: discover.Party{Host: "a"}, Server: discover.Party{Host: "b"}, Port: uint16(r.IntN(50))}
				n := x.find(&k)
				if (n != nil) != model[k.Port] || n != nil && n.Key != k {
					t.Fatalf("%+v is found as %+v", k, n)
				}
				if n == nil {
					x.insert(Edge{Key: k})
				} else {
					x.delete(n)
				}
				model[k.Port] = n == nil
			}
			left := 0
			for n := range x.all() {
				left++
				x.delete(n)
			}
			if left == 0 || x.size != 0 || len(x.byKey)+len(x.byHost) != 0 {
				t.Errorf("%d were there, %d are left, %v, %v", left, x.size, x.byKey, x.byHost)
			}
		})
	}
}
