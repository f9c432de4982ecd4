// Package storetest has the contract of [openimds.Store] as a test suite, and a store in memory that
// fulfils it.
package storetest
