BEGIN TRANSACTION;
CREATE TABLE batches (
	id VARCHAR(17) NOT NULL, 
	folder_digest VARCHAR(64) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	run_id VARCHAR(250), 
	holder VARCHAR(250), 
	take_ups INTEGER NOT NULL, 
	study VARCHAR(64) NOT NULL, 
	collection VARCHAR(64) NOT NULL, 
	recipe TEXT NOT NULL, 
	revise BOOLEAN NOT NULL, 
	subfolder TEXT, 
	same_as VARCHAR(17), 
	has_error BOOLEAN NOT NULL, 
	set_aside BOOLEAN NOT NULL, 
	errors JSON NOT NULL, 
	reasons JSON NOT NULL, 
	actions JSON NOT NULL, 
	received INTEGER NOT NULL, 
	delivered INTEGER NOT NULL, 
	filtered INTEGER NOT NULL, 
	quarantined INTEGER NOT NULL, 
	duplicate INTEGER NOT NULL, 
	bytes_in BIGINT NOT NULL, 
	listing VARCHAR(64), 
	queued_at FLOAT NOT NULL, 
	started_at FLOAT, 
	finished_at FLOAT, 
	cleaned_at FLOAT, 
	PRIMARY KEY (id), 
	UNIQUE (folder_digest)
);
INSERT INTO "batches" VALUES('be257294bc54508ad','0000000000000000000000000000000000000000000000000000000000000000','DONE','scheduled__2026-11-27T00:00:00+00:00','ra56163afafb32bda',0,'trial','IRB-1','default',1,'1_6',NULL,0,0,'[]','{}','{}',0,0,0,0,0,0,NULL,1.79597305490704441067e+09,1.79597305504403114318e+09,1.79597305519198441508e+09,1.795973055806286335e+09);
INSERT INTO "batches" VALUES('b809e0d0e3b6443eb','0000000000000000000000000000000000000000000000000000000000000001','DONE','scheduled__2026-11-27T00:00:00+00:00','ra56163afafb32bda',0,'trial','IRB-1','default',1,'1_6',NULL,0,0,'[]','{}','{}',0,0,0,0,0,0,NULL,1.79597305493702197069e+09,1.79597305522469162944e+09,1.79597305531975603111e+09,1.7959730558653972149e+09);
INSERT INTO "batches" VALUES('bfcd89772bc4b1d7c','0000000000000000000000000000000000000000000000000000000000000002','DONE','scheduled__2026-11-27T00:00:00+00:00','ra56163afafb32bda',0,'trial','IRB-1','default',1,'1_6',NULL,0,0,'[]','{}','{}',0,0,0,0,0,0,NULL,1.7959730549489388466e+09,1.79597305534171557423e+09,1.79597305542490053172e+09,NULL);
INSERT INTO "batches" VALUES('bf6b33d9cc8fa23f9','0000000000000000000000000000000000000000000000000000000000000003','ERROR','scheduled__2026-11-27T00:00:00+00:00','ra56163afafb32bda',0,'trial','IRB-1','default',1,'1_6',NULL,1,0,'[{"stage": "import", "reason": "unsupported transfer syntax", "count": 1, "files": [], "outside": false}]','{"unsupported transfer syntax": 3}','{"REMOVE 00100010": 7}',4,0,1,3,0,123456789012,'cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc',1.79597305495052790647e+09,1.79597305548948192599e+09,1.79597305550044345854e+09,NULL);
INSERT INTO "batches" VALUES('b6fba3353124c917c','0000000000000000000000000000000000000000000000000000000000000004','DONE','scheduled__2026-11-27T00:00:00+00:00','ra56163afafb32bda',0,'trial','IRB-1','default',1,'1_6','bfcd89772bc4b1d7c',0,0,'[]','{}','{}',0,0,0,0,0,0,NULL,1.7959730549517884255e+09,1.79597305552221822742e+09,1.7959730555382320881e+09,NULL);
INSERT INTO "batches" VALUES('b9bbb93c53aebcb92','0000000000000000000000000000000000000000000000000000000000000005','PROCESSING','scheduled__2026-11-27T00:00:00+00:00','ra56163afafb32bda',0,'trial','IRB-1','default',1,'1_6',NULL,0,0,'[]','{}','{}',0,0,0,0,0,0,NULL,1.79597305496989107127e+09,1.79597305556561517717e+09,NULL,NULL);
INSERT INTO "batches" VALUES('b654b2a124d29e484','0000000000000000000000000000000000000000000000000000000000000006','QUEUE',NULL,NULL,0,'trial','IRB-1','default',0,NULL,NULL,0,0,'[]','{}','{}',0,0,0,0,0,0,NULL,1.79597305590369439119e+09,NULL,NULL,NULL);
CREATE TABLE deliveries (
	batch_id VARCHAR(17) NOT NULL, 
	bucket VARCHAR(222) NOT NULL, 
	object TEXT NOT NULL, 
	archive_of VARCHAR(200) NOT NULL, 
	revision INTEGER NOT NULL, 
	replaces VARCHAR(17), 
	replaced_object TEXT, 
	replaced_generation BIGINT, 
	content VARCHAR(64) NOT NULL, 
	size BIGINT NOT NULL, 
	crc32c VARCHAR(16) NOT NULL, 
	members INTEGER NOT NULL, 
	recipe_digest VARCHAR(64) NOT NULL, 
	engine VARCHAR(32) NOT NULL, 
	sent_at FLOAT, 
	sent_object TEXT, 
	sent_crc32c VARCHAR(16), 
	generation BIGINT, 
	md5 VARCHAR(32), 
	updated VARCHAR(40), 
	self_link TEXT, 
	media_link TEXT, 
	uploaded_at FLOAT, 
	rows INTEGER, 
	rows_at FLOAT, 
	superseded_by VARCHAR(17), 
	withdrawn_at FLOAT, 
	PRIMARY KEY (batch_id), 
	CONSTRAINT one_archive_per_study UNIQUE (bucket, archive_of, revision), 
	FOREIGN KEY(batch_id) REFERENCES batches (id)
);
INSERT INTO "deliveries" VALUES('be257294bc54508ad','bucket','Collection/IRB-1/p1/s1.tar.gz','IRB-1/p1/s1',1,NULL,NULL,NULL,'0000000000000000000000000000000000000000000000000000000000000000',8589934592,'AAAAA0==',3,'abababababababababababababababababababababababababababababababab','2.0.0',1.79597305515821123117e+09,'Collection/IRB-1/p1/s1.tar.gz','AAAAA0==',1764300000000000,'md5md5md5md5md5md5md5m==','2026-11-28T10:00:00.000Z','https://storage.example.org/o/a','https://storage.example.org/m/a',1764300000.25,1,1.7959730551909873485e+09,'bfcd89772bc4b1d7c',NULL);
INSERT INTO "deliveries" VALUES('b809e0d0e3b6443eb','bucket','Collection/IRB-1/p2/s2.tar.gz','IRB-1/p2/s2',1,NULL,NULL,NULL,'0000000000000000000000000000000000000000000000000000000000000001',8589934593,'AAAAA1==',4,'abababababababababababababababababababababababababababababababab','2.0.0',1.79597305528429508213e+09,'Collection/IRB-1/p2/s2.tar.gz','AAAAA1==',1764300000000001,NULL,'2026-11-28T10:00:00.000Z','https://storage.example.org/o/a','https://storage.example.org/m/a',1764300000.25,1,1.79597305531942248342e+09,NULL,1.79597305546491599085e+09);
INSERT INTO "deliveries" VALUES('bfcd89772bc4b1d7c','bucket','Collection/IRB-1/p1/s1.tar.gz','IRB-1/p1/s1',2,'be257294bc54508ad','Collection/IRB-1/p1/s1.tar.gz',1764300000000000,'0000000000000000000000000000000000000000000000000000000000000002',8589934594,'AAAAA2==',5,'abababababababababababababababababababababababababababababababab','2.0.0',1.79597305539927506448e+09,'Collection/IRB-1/p1/s1.tar.gz','AAAAA2==',1764300000000002,NULL,'2026-11-28T10:00:00.000Z','https://storage.example.org/o/a','https://storage.example.org/m/a',1764300000.25,1,1.79597305542465329169e+09,NULL,NULL);
INSERT INTO "deliveries" VALUES('b9bbb93c53aebcb92','bucket','Collection/IRB-1/p3/s3.tar.gz','IRB-1/p3/s3',1,NULL,NULL,NULL,'0000000000000000000000000000000000000000000000000000000000000005',8589934597,'AAAAA5==',8,'abababababababababababababababababababababababababababababababab','2.0.0',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE feeds (
	bucket VARCHAR(222) NOT NULL, 
	collection VARCHAR(64) NOT NULL, 
	counter BIGINT NOT NULL, 
	PRIMARY KEY (bucket, collection)
);
INSERT INTO "feeds" VALUES('bucket','IRB-1',4);
CREATE TABLE history (
	id INTEGER NOT NULL, 
	at FLOAT NOT NULL, 
	batch_id VARCHAR(17) NOT NULL, 
	event VARCHAR(16) NOT NULL, 
	archive_of VARCHAR(200), 
	object TEXT, 
	revision INTEGER, 
	generation BIGINT, 
	crc32c VARCHAR(16), 
	recipe_digest VARCHAR(64), 
	note TEXT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(batch_id) REFERENCES batches (id)
);
INSERT INTO "history" VALUES(1,1.79597305520617699621e+09,'be257294bc54508ad','delivered','IRB-1/p1/s1','Collection/IRB-1/p1/s1.tar.gz',1,1764300000000000,'AAAAA0==','abababababababababababababababababababababababababababababababab',NULL);
INSERT INTO "history" VALUES(2,1.795973055326436758e+09,'b809e0d0e3b6443eb','delivered','IRB-1/p2/s2','Collection/IRB-1/p2/s2.tar.gz',1,1764300000000001,'AAAAA1==','abababababababababababababababababababababababababababababababab',NULL);
INSERT INTO "history" VALUES(3,1.79597305542529821391e+09,'bfcd89772bc4b1d7c','delivered','IRB-1/p1/s1','Collection/IRB-1/p1/s1.tar.gz',2,1764300000000002,'AAAAA2==','abababababababababababababababababababababababababababababababab',NULL);
INSERT INTO "history" VALUES(4,1.79597305544601798053e+09,'be257294bc54508ad','superseded','IRB-1/p1/s1','Collection/IRB-1/p1/s1.tar.gz',1,1764300000000000,'AAAAA0==','abababababababababababababababababababababababababababababababab','bfcd89772bc4b1d7c');
INSERT INTO "history" VALUES(5,1.795973055465965271e+09,'b809e0d0e3b6443eb','withdrawn','IRB-1/p2/s2','Collection/IRB-1/p2/s2.tar.gz',1,1764300000000001,'AAAAA1==','abababababababababababababababababababababababababababababababab','consent withdrawn');
INSERT INTO "history" VALUES(6,1.79597305553900694844e+09,'b6fba3353124c917c','recognised',NULL,NULL,NULL,NULL,NULL,NULL,'bfcd89772bc4b1d7c');
INSERT INTO "history" VALUES(7,1.79597305578078770636e+09,'b9bbb93c53aebcb92','retracted','IRB-1/p3/s3','Collection/IRB-1/p3/s3.tar.gz',1,NULL,'AAAAA5==','abababababababababababababababababababababababababababababababab',NULL);
CREATE TABLE identifiers (
	batch_id VARCHAR(17) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	value JSON NOT NULL, 
	PRIMARY KEY (batch_id, kind), 
	FOREIGN KEY(batch_id) REFERENCES batches (id)
);
INSERT INTO "identifiers" VALUES('bfcd89772bc4b1d7c','folder','"/input/A1 again"');
INSERT INTO "identifiers" VALUES('bf6b33d9cc8fa23f9','folder','"/input/caf\udce9"');
INSERT INTO "identifiers" VALUES('b6fba3353124c917c','folder','"/input/A5"');
INSERT INTO "identifiers" VALUES('b9bbb93c53aebcb92','folder','"/input/A6"');
INSERT INTO "identifiers" VALUES('bfcd89772bc4b1d7c','header','{"00100020": "P0001", "00100010": "M\u00fcller^J\u00f6rg"}');
INSERT INTO "identifiers" VALUES('b654b2a124d29e484','folder','"/input/A7"');
CREATE TABLE identity (
	id VARCHAR(32) NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "identity" VALUES('0f4724c8db634dbca212cc0c5f54736d');
CREATE TABLE inputs (
	digest VARCHAR(64) NOT NULL, 
	device VARCHAR(20) NOT NULL, 
	inode VARCHAR(20) NOT NULL, 
	mounted BOOLEAN NOT NULL, 
	PRIMARY KEY (digest)
);
INSERT INTO "inputs" VALUES('dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd','2049','18446744073709551615',1);
CREATE TABLE patient_codes (
	digest VARCHAR(64) NOT NULL, 
	code VARCHAR(64) NOT NULL, 
	jitter INTEGER NOT NULL, 
	PRIMARY KEY (digest), 
	UNIQUE (code)
);
INSERT INTO "patient_codes" VALUES('eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee','p1',-17);
INSERT INTO "patient_codes" VALUES('ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','p2',31);
CREATE TABLE runs (
	"key" VARCHAR(17) NOT NULL, 
	dag_id VARCHAR(250) NOT NULL, 
	run_id VARCHAR(250) NOT NULL, 
	created VARCHAR(40) NOT NULL, 
	starts JSON NOT NULL, 
	first_seen_at FLOAT NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "runs" VALUES('ra56163afafb32bda','sendit','scheduled__2026-11-27T00:00:00+00:00','2026-11-27T00:00:00+00:00','{"0": "2026-11-27T00:00:01+00:00"}',1.79597305480400514605e+09);
INSERT INTO "runs" VALUES('r7b97f55ebc5049a3','sendit','manual__2026-11-28','2026-11-28T00:00:00+00:00','{"0": "2026-11-28T09:00:00+00:00", "1": "2026-11-28T10:00:00+00:00"}',1.79597305484985065465e+09);
CREATE TABLE schema_info (
	version INTEGER NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "schema_info" VALUES(6);
CREATE TABLE stages (
	holder VARCHAR(250) NOT NULL, 
	lane INTEGER NOT NULL, 
	bucket VARCHAR(222) NOT NULL, 
	collection VARCHAR(64) NOT NULL, 
	dropped_at FLOAT, 
	PRIMARY KEY (holder, lane, bucket, collection)
);
INSERT INTO "stages" VALUES('ra56163afafb32bda',0,'bucket','IRB-1',1.79597305594208860391e+09);
INSERT INTO "stages" VALUES('ra56163afafb32bda',1,'bucket','IRB-1',NULL);
CREATE TABLE study_codes (
	digest VARCHAR(64) NOT NULL, 
	code VARCHAR(64) NOT NULL, 
	PRIMARY KEY (digest), 
	UNIQUE (code)
);
INSERT INTO "study_codes" VALUES('eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee','s1');
CREATE INDEX ix_runs_run_id ON runs (run_id);
CREATE INDEX ix_batches_run_id ON batches (run_id);
CREATE INDEX ix_batches_status ON batches (status);
CREATE INDEX ix_batches_holder ON batches (holder);
CREATE INDEX ix_deliveries_archive_of ON deliveries (archive_of);
CREATE INDEX ix_history_batch_id ON history (batch_id);
COMMIT;
