package lightsail

// pageSize is how many items a list operation looks at for one answer. AWS names a number for
// operations only: up to 200.
const pageSize = 100
