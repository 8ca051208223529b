package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/discovertest"
)

// The shape of the fleet.
const (
	siteHosts      = 100
	serverEvery    = 10 // hosts
	perServer      = 2  // endpoints
	poolMembers    = 4
	pooled         = 0.2 // of the endpoints
	perClient      = 5   // relations
	inSite         = 0.3 // of the relations stay in their site, without translation
	persistent     = 0.2 // of the relations have one connection that stays open
	dropped        = 0.01
	checkEvery     = 5 * time.Second // strangers check the health of each endpoint
	checksOfSites  = 3
	clockError     = 5 * time.Minute
	longestBetween = 300 * time.Second // connections of a relation
)

// fleet is the hosts, their relations, and the traffic so far.
type fleet struct {
	world     *discovertest.World
	hosts     []*discovertest.Host
	endpoints []*endpoint
	relations []*relation
	checks    []discovertest.Link
	reached   map[pair]bool // had traffic
}

// endpoint is a service as others dial it.
type endpoint struct {
	dialled netip.AddrPort // from outside
	members []*discovertest.Host
	site    int // of its only member
	port    uint16
	turn    int
}

// relation is that a client uses an endpoint.
type relation struct {
	client   int
	endpoint *endpoint
	direct   bool
	every    time.Duration // on average; 0: one connection that stays
	next     time.Time
	open     *discovertest.Open // the one that stays
}

// pair is the truth and what is measured against it.
type pair struct {
	client, server string
	port           uint16
}

func newFleet(s setting, seed uint64) *fleet {
	w := discovertest.New(seed)
	w.NoISN, w.Drop = s.NoISN, dropped
	f := &fleet{world: w, reached: map[pair]bool{}}
	for i := range s.Hosts {
		k := i % siteHosts
		ahead := time.Duration((w.Rand.Float64()*2 - 1) * float64(clockError))
		h := w.Host(fmt.Sprint("h", i), fmt.Sprintf("10.0.0.%d", k+1), ahead)
		h.Run(1, "/usr/bin/client")
		f.hosts = append(f.hosts, h)
	}
	f.makeEndpoints(w.Rand)
	f.makeRelations(w.Rand)
	f.makeChecks(w.Rand)
	return f
}

func public(site int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18, byte(site >> 8), byte(site)})
}

func (f *fleet) makeEndpoints(r *rand.Rand) {
	servers := len(f.hosts) / serverEvery
	for s := range servers {
		for k := range perServer {
			port := uint16(8080 + k)
			h := f.hosts[s*serverEvery]
			h.Serve(100+k, fmt.Sprint("/usr/bin/server", k), port)
			n := len(f.endpoints)
			e := &endpoint{
				members: []*discovertest.Host{h}, site: s * serverEvery / siteHosts, port: port,
				dialled: netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, byte(n >> 8), byte(n)}), 443),
			}
			if r.Float64() < pooled {
				e.members, e.site = nil, -1
				for _, i := range r.Perm(servers)[:poolMembers] {
					e.members = append(e.members, f.hosts[i*serverEvery])
				}
			}
			f.endpoints = append(f.endpoints, e)
		}
	}
}

// makeRelations prefers some endpoints by far, as fleets do.
func (f *fleet) makeRelations(r *rand.Rand) {
	popular := rand.NewZipf(r, 1.2, 20, uint64(len(f.endpoints)-1))
	for c := range f.hosts {
		uses := map[*endpoint]bool{}
		for len(uses) < perClient {
			e := f.endpoints[popular.Uint64()]
			near := r.Float64() < inSite
			if near {
				e = f.near(r, c/siteHosts)
			}
			uses[e] = true
			near = near && e.site == c/siteHosts
			rel := &relation{client: c, endpoint: e, direct: near}
			if r.Float64() >= persistent {
				rel.every = time.Duration(math.Pow(longestBetween.Seconds(), r.Float64()) * float64(time.Second))
				rel.next = discovertest.Start.Add(time.Duration(r.ExpFloat64() * float64(rel.every)))
			}
			f.relations = append(f.relations, rel)
		}
	}
}

// near is an endpoint of a site.
func (f *fleet) near(r *rand.Rand, site int) *endpoint {
	per := siteHosts / serverEvery * perServer
	from := min(site*per, len(f.endpoints)-per)
	return f.endpoints[from+r.IntN(per)]
}

func (f *fleet) makeChecks(r *rand.Rand) {
	stranger := &discovertest.Host{Name: "stranger", Address: netip.MustParseAddr("10.9.9.9"), Blind: true}
	sites := (len(f.hosts) + siteHosts - 1) / siteHosts
	for _, e := range f.endpoints {
		for range checksOfSites {
			seen := public(r.IntN(sites))
			for _, m := range e.members {
				f.checks = append(f.checks, discovertest.Link{Client: stranger, Dialled: e.dialled, Seen: seen, Server: m, Port: e.port})
			}
		}
	}
}

// link is how the next connection of a relation travels.
func (f *fleet) link(r *relation) discovertest.Link {
	e := r.endpoint
	e.turn++
	m := e.members[e.turn%len(e.members)]
	l := discovertest.Link{Client: f.hosts[r.client], PID: 1, Dialled: e.dialled, Seen: public(r.client / siteHosts), Server: m, Port: e.port}
	if r.direct {
		l.Dialled, l.Seen = netip.AddrPortFrom(m.Address, e.port), l.Client.Address
	}
	return l
}

// pass makes the traffic of a span of time. It gives the number of connections.
func (f *fleet) pass(from time.Time, d time.Duration) (n int) {
	r := f.world.Rand
	for _, rel := range f.relations {
		if rel.every == 0 {
			n += f.hold(rel, from)
			continue
		}
		for ; rel.next.Before(from.Add(d)); rel.next = rel.next.Add(time.Duration(r.ExpFloat64() * float64(rel.every))) {
			hold := 0.05 * math.Exp(1.2*r.NormFloat64())
			n += f.connect(rel, rel.next, time.Duration(hold*float64(time.Second)))
		}
	}
	for i, l := range f.checks {
		phase := time.Duration(i) * 7919 * time.Millisecond % checkEvery
		for at := phase; at < d; at += checkEvery {
			f.world.Connect(l, from.Add(at), time.Duration(20+r.IntN(200))*time.Millisecond)
			n++
		}
	}
	return n
}

// hold keeps the one connection of a relation open.
func (f *fleet) hold(r *relation, at time.Time) int {
	switch since := at.Sub(discovertest.Start); {
	case since == 0:
		return f.connect(r, at, 0)
	case since%discover.Repeat == 0:
		f.world.Repeat(*r.open)
	}
	return 0
}

func (f *fleet) connect(r *relation, at time.Time, hold time.Duration) int {
	l := f.link(r)
	if o := f.world.Connect(l, at, hold); r.every == 0 {
		kept := o // few are: the others leave no garbage
		r.open = &kept
	}
	f.reached[pair{l.Client.Name, l.Server.Name, l.Port}] = true
	return 1
}
