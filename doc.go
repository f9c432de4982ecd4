// Package openimds holds the words of an instance metadata service: [Instance] with its [NIC]s,
// [MetadataOptions] and the partial change [OptionsUpdate], [Events], [Faults], [Recording], [Operation],
// [Attachment], [KeyPair], [StaticIP], [Alarm], the catalogue of [Blueprint]s and [Bundle]s, and [Error].
//
// The package imports nothing but the standard library, and knows neither how a word is kept (store, records)
// nor who may change it (control). docs/ARCHITECTURE.md has the picture.
package openimds
