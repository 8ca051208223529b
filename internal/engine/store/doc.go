// Package store keeps typed objects in key-value buckets of NATS JetStream: read,
// compare-and-set, watch.
//
// It may touch the buckets it is given and nothing else. It knows no nouns: what
// is stored where is said by its callers. A write that was acknowledged is on
// disk; a write that failed with Unavailable may or may not have happened, which
// the next compare-and-set finds out.
package store
