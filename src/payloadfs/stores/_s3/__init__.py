"""S3, and whatever speaks S3: small objects through obstore, large ones by requests of our own, all through s3fs if need be."""

from ._store import S3Store, open_s3_store

__all__ = ["S3Store", "open_s3_store"]
