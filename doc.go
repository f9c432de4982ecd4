// Package openimds holds the words of an instance metadata service and the rules that govern them.
//
// Words: [Instance] with its [NIC]s, [MetadataOptions] and the partial change [OptionsUpdate],
// [Operation], [KeyPair], [StaticIP], [Blueprint], [Bundle], and [Error].
//
// Rules: [Service] is the only door to a change. It validates, decides, and commits to a [Store] by
// compare-and-set. Everybody else learns of a change by watching the store.
//
// The package imports nothing but the standard library. Around it stand the adapters: metadata and
// imds show an instance to its guest, lightsail shows the service to its operator, boltstore keeps
// the records, agent carries changes to the serving side. docs/ARCHITECTURE.md has the picture.
package openimds
