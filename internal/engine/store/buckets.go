package store

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/droveway/droveway"
)

// Names of the buckets. A bucket is the stream KV_<name> with the subjects
// $KV.<name>.>, by which the bus grants permissions.
const (
	BucketObjects  = "objects"
	BucketObserved = "observed"
	BucketJobs     = "jobs"
	BucketLeases   = "leases"
)

const (
	// markerLife is how long a deleted key is remembered. A watcher that was
	// cut off for longer could miss the deletion.
	markerLife = time.Hour

	// Three replicas survive the loss of one server.
	clusterReplicas = 3
)

// Stores are the buckets of a fleet.
type Stores struct {
	Objects  jetstream.KeyValue // what is wanted; written by the server
	Observed jetstream.KeyValue // what is seen; each host writes its own keys
	Jobs     jetstream.KeyValue // journals of jobs
	Leases   jetstream.KeyValue // keys that run out
}

// Buckets opens the buckets and makes those that are missing: kept in files, and
// by three servers if the bus is a cluster. An error is of kind Unavailable.
func Buckets(ctx context.Context, js jetstream.JetStream) (*Stores, error) {
	s := &Stores{}
	for _, b := range []struct {
		name string
		kv   *jetstream.KeyValue
	}{
		{BucketObjects, &s.Objects},
		{BucketObserved, &s.Observed},
		{BucketJobs, &s.Jobs},
		{BucketLeases, &s.Leases},
	} {
		kv, err := openBucket(ctx, js, b.name)
		if err != nil {
			return nil, droveway.Errorf(droveway.Unavailable, "open bucket %s: %w", b.name, err)
		}
		*b.kv = kv
	}
	return s, nil
}

func openBucket(ctx context.Context, js jetstream.JetStream, name string) (jetstream.KeyValue, error) {
	cfg := jetstream.KeyValueConfig{
		Bucket:         name,
		Storage:        jetstream.FileStorage,
		History:        1,
		LimitMarkerTTL: markerLife, // lets keys have a time to live of their own
		Replicas:       1,
	}
	if js.Conn().ConnectedClusterName() == "" {
		return js.CreateOrUpdateKeyValue(ctx, cfg)
	}
	cfg.Replicas = clusterReplicas
	kv, err := js.CreateOrUpdateKeyValue(ctx, cfg)
	if !tooFewServers(err) {
		return kv, err
	}
	cfg.Replicas = 1
	return js.CreateOrUpdateKeyValue(ctx, cfg)
}

// Codes of the server (server/errors.json of nats-server).
const (
	codeNoPeers      jetstream.ErrorCode = 10005 // no suitable peers for placement
	codeNotClustered jetstream.ErrorCode = 10074 // replicas > 1 not supported in non-clustered mode
)

// tooFewServers is how a cluster of fewer than three servers answers.
func tooFewServers(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == codeNoPeers || api.ErrorCode == codeNotClustered)
}
