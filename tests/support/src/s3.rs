//! An S3 server over HTTP, in this process, on files in a temporary folder.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, oneshot};

/// An S3 server that checks signatures, with one bucket. It has a thread and a runtime
/// of its own, so it outlives the runtimes of tests that share it.
pub struct S3Server {
    address: SocketAddr,
    folder: TempDir,
    /// Dropped: the server ends.
    _stop: oneshot::Sender<()>,
}

impl S3Server {
    /// The bucket that exists from the start.
    pub const BUCKET: &str = "lakehouse";
    /// The only user.
    pub const ACCESS_KEY: &str = "test-access-key";
    /// Its secret.
    pub const SECRET_KEY: &str = "test-secret-key";

    /// Starts a server on a free port of loopback.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(Self::BUCKET)).unwrap();
        let file_system = FileSystem::new(folder.path()).unwrap();
        let mut builder = S3ServiceBuilder::new(file_system);
        builder.set_auth(SimpleAuth::from_single(Self::ACCESS_KEY, Self::SECRET_KEY));
        let service = builder.build();

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        std::thread::Builder::new()
            .name("test-s3".to_string())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let listener = TcpListener::from_std(listener).unwrap();
                    tokio::select! {
                        () = serve(listener, service) => {}
                        _ = stopped => {}
                    }
                });
                runtime.shutdown_background();
            })
            .unwrap();
        Self {
            address,
            folder,
            _stop: stop,
        }
    }

    /// `http://127.0.0.1:PORT`; use path-style requests.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The folder that holds the bucket's objects as files.
    pub fn bucket_folder(&self) -> std::path::PathBuf {
        self.folder.path().join(Self::BUCKET)
    }

    /// The folder that holds the buckets.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

async fn serve(listener: TcpListener, service: S3Service) {
    // s3s-fs checks If-None-Match and If-Match, but not in one step with the write.
    let conditional_writes = Arc::new(Mutex::new(()));
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            continue;
        };
        tokio::spawn(serve_connection(
            socket,
            service.clone(),
            Arc::clone(&conditional_writes),
        ));
    }
}

async fn serve_connection(
    socket: TcpStream,
    service: S3Service,
    conditional_writes: Arc<Mutex<()>>,
) {
    // Else each small exchange waits 40 ms for a delayed acknowledgement.
    socket.set_nodelay(true).unwrap();
    let handle = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let service = service.clone();
        let conditional_writes = Arc::clone(&conditional_writes);
        async move {
            let headers = request.headers();
            let is_conditional =
                headers.contains_key("if-none-match") || headers.contains_key("if-match");
            let is_write = matches!(request.method().as_str(), "PUT" | "POST");
            let _turn = match is_conditional && is_write {
                true => Some(conditional_writes.lock().await),
                false => None,
            };
            Service::call(&service, request).await
        }
    });
    // Ends with an error whenever a client closes its connection.
    let _ = Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(socket), handle)
        .await;
}
